#!/usr/bin/python3
"""faults: whatever breaks, the result is a whole clean dump or none, and one record (P2, P6).

Each fault is made for real, a tagged process crashes, and the one record must say why. What fails
inside our own processes is the matter of anomalies.py.

TAP on stdout.
"""

import base64
import errno
import json
import os
import resource
import secrets
import shutil
import signal
import struct
import subprocess
import sys

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
sys.dont_write_bytecode = True
from crash import BUILD, Sieve, read, wait_for, write  # noqa: E402
from place import POLICY, SOAK, VICTIM, Place, Wrong, run  # noqa: E402

PINS = "/sys/fs/bpf/coresieve/v1"


def pins():
    return [os.path.join(d, f) for d, _, files in os.walk(PINS) for f in files]


def maps_unpinned(place):
    for path in pins():
        os.unlink(path)
    place.expect_none("maps-missing")


def links_detached(place):
    links = [p for p in pins() if "link" in p]
    if not links:
        raise Wrong(f"no links among {pins()}")
    for path in links:
        os.unlink(path)
    place.expect_none("sensor-dead")


def each_link_detached(place):
    for path in sorted(p for p in pins() if "link" in p):
        os.unlink(path)
        try:
            place.expect_none("sensor-dead")
        except Wrong as error:
            raise Wrong(f"without {path}: {error}") from error
        place.sieve.enable()


def canary_replaced(place):
    """Its links are alive, but the sensor does not see the file that enable wrote."""
    canary = os.path.join(place.root, "var/lib/coresieve/canary")
    shutil.copy(canary, canary + ".new")
    os.rename(canary + ".new", canary)
    place.expect_none("sensor-dead")


def canary_missing(place):
    os.unlink(os.path.join(place.root, "var/lib/coresieve/canary"))
    place.expect_none("sensor-dead")


def change_meta(offset, value):
    path = os.path.join(PINS, "meta")
    if not os.path.exists(path):
        path = next(p for p in pins() if "meta" in os.path.basename(p))
    dump = json.loads(subprocess.run(["bpftool", "-j", "map", "dump", "pinned", path], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout)
    entry = dump[0].get("elements", dump)[0] if "elements" in dump[0] else dump[0]
    data = [int(b, 16) for b in entry["value"]]
    data[offset:offset + len(value)] = value
    subprocess.run(["bpftool", "map", "update", "pinned", path, "key", "hex", "00", "00", "00",
                    "00", "value", "hex", *(f"{b:02x}" for b in data)], check=True)


def maps_of_another_version(place):
    change_meta(0, [99])
    place.expect_none("maps-stale")


def maps_of_another_boot(place):
    change_meta(24, list(secrets.token_bytes(16)))
    place.expect_none("maps-stale")


def policy_broken(place):
    write(place.policy, "[Secret test\nFile=x\n")
    place.expect_none("policy-broken")


def policy_missing(place):
    os.unlink(place.policy)
    place.expect_none("policy-broken")


def store_missing(place):
    # Its parent is a file: nobody can make the directory either.
    shutil.rmtree(place.store)
    write(place.store, "in the way")
    place.expect_none("store-failed")


def store_read_only(place):
    subprocess.run(["mount", "--bind", place.store, place.store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place.store], check=True)
        place.expect_none("store-failed")
    finally:
        subprocess.run(["umount", place.store], check=True)


def store_full(place):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", place.store],
                   check=True)
    try:
        place.expect_none("store-full")
    finally:
        subprocess.run(["umount", place.store], check=True)


def store_over_limit(place):
    write(place.policy, POLICY.replace("{dir}", place.sieve.dir).replace(
        "KeepFree=0", "KeepFree=0\nDumpMax=2M\nStoreMax=2M"))
    place.sieve.enable()
    write(os.path.join(place.store, "old.core.zst"), "x" * (2 << 20))
    place.expect_none("store-full")


def store_world_writable(place):
    os.chmod(place.store, 0o777)
    place.expect_none("store-failed")


def store_is_a_link(place):
    real = place.store + ".real"
    os.rename(place.store, real)
    os.symlink(real, place.store)
    place.expect_none("store-failed")


def log_disk_full(place):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", place.log_dir],
                   check=True)
    try:
        try:
            write(os.path.join(place.log_dir, "filler"), "x" * (1 << 20))
        except OSError:
            pass
        record = place.expect_none("log-failed")
    finally:
        subprocess.run(["umount", place.log_dir], check=True)
    # It is not lost: the next record takes it in.
    place.crash()
    with open(os.path.join(place.log_dir, "audit.jsonl")) as f:
        if record["id"] not in f.read():
            raise Wrong("the pending record was not taken in")


def log_is_a_fifo(place):
    log = os.path.join(place.log_dir, "audit.jsonl")
    if os.path.exists(log):
        os.unlink(log)
    os.mkfifo(log)
    before = place.dumps()
    process = place.victim()
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    pending = os.path.join(place.run, "pending.jsonl")
    wait_for("a pending record", lambda: os.path.exists(pending) and read(pending))
    records = [json.loads(line) for line in open(pending)]
    if len(records) != 1 or "log-failed" not in records[0]["verdict"]["causes"]:
        raise Wrong(f"{records}")
    if place.dumps() - before:
        raise Wrong("a dump was kept without a record in the log")


def worker_missing(place):
    # The helper looks beside itself: a copy of it has nobody beside.
    alone = os.path.join(place.sieve.dir, "alone")
    os.makedirs(alone)
    shutil.copy(os.path.join(BUILD, "bin", "coresieve-helper"), alone)
    arguments = place.sieve.ours[1:].partition(" ")[2]
    write("/proc/sys/kernel/core_pattern", f"|{alone}/coresieve-helper {arguments}")
    place.expect_none("worker-missing")


def key_rotated(place):
    process = place.victim()
    other = place.key + ".new"
    shutil.copy(place.key, other)
    os.rename(other, place.key)
    before = place.dumps()
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    record, dumps = place.outcome(process.pid, before)
    if record["verdict"]["content"] != "stacks" or "needle-missing" not in record["verdict"]["causes"]:
        raise Wrong(f"{record['verdict']}")
    if not dumps:
        raise Wrong("`stacks` keeps a dump")


def key_unlinked(place):
    process = place.victim()
    os.unlink(place.key)
    before = place.dumps()
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    record, _ = place.outcome(process.pid, before)
    if record["verdict"]["content"] != "stacks" or "needle-missing" not in record["verdict"]["causes"]:
        raise Wrong(f"{record['verdict']}")


def disagree(place):
    """A CLONE_VM sharer copies the key to new places while the dump is made."""
    seen = set()
    for _ in range(5):
        before = place.dumps()
        process = place.victim("sharer")
        children = read(f"/proc/{process.pid}/task/{process.pid}/children").split()
        os.kill(process.pid, signal.SIGSEGV)
        process.wait()
        record, dumps = place.outcome(process.pid, before)
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass
        if dumps:
            place.check_clean(record)
        elif "disagree" not in record["verdict"]["causes"]:
            raise Wrong(f"no dump, and causes are {record['verdict']['causes']}")
        seen |= set(record["verdict"]["causes"])
    if "disagree" not in seen:
        raise Wrong("five dumps of moving memory, and no two passes disagreed")


def rlimit_zero(place):
    place.expect_none("rlimit", "rlimit0")


def comm_of_any_bytes(place):
    names = [b"x) R 1", b"a\nUid:\t0", b"%s%n$(id)", b"\"}{\\", bytes(range(1, 16)),
             bytes(range(0xf1, 0x100)), b"../../etc", b" ", b"'; --"]
    for name in names:
        record = place.expect_kept("comm", name.hex())
        comm = record["comm"].encode("utf-8", "surrogateescape")
        if "comm_b64" in record:
            comm = base64.b64decode(record["comm_b64"])
        if comm != name[:15]:
            raise Wrong(f"comm {name!r} is recorded as {comm!r}")


def foreign_holder(place):
    """Holder= is about who may have a secret: the record of any other says so, and `list` too."""
    write(place.policy, POLICY.replace("{dir}", place.sieve.dir) +
          f"Holder=/usr/sbin/nginx\n[Process victim]\nExe={VICTIM}\n")
    place.sieve.enable()
    record, _ = place.crash()
    if record["tag"]["labels"] != [{"label": "test", "rule": "secret", "holder": "foreign"},
                                   {"label": "victim", "rule": "process", "holder": None}]:
        raise Wrong(f"{record['tag']}")
    if "FOREIGN HOLDER of test" not in place.sieve.command("list").stdout:
        raise Wrong(place.sieve.command("list").stdout)


SUID_DUMPABLE = "/proc/sys/fs/suid_dumpable"
CORE_DUMPED = 0x80              # of a wait status

# A whole ELFCLASS32 program: write(1, "ready\n", 6), then pause() for ever, by int 0x80.
ELF32_AT = 0x08048000
ELF32_CODE = bytes.fromhex("b804000000bb01000000b97b800408ba06000000cd80b81d000000cd80ebf7")
ELF32 = (struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, ELF32_AT + 84, 52, 0, 0,
                     52, 32, 1, 0, 0, 0) +
         struct.pack("<8I", 1, 0, ELF32_AT, ELF32_AT, 84 + 39 + 6, 84 + 39 + 6, 5, 0x1000) +
         ELF32_CODE.ljust(39, b"\x90") + b"ready\n")


def start(path, *arguments, **more):
    """Any program that says `ready`, with no limit on its core."""
    def unlimited():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    process = subprocess.Popen([path, *arguments], stdout=subprocess.PIPE, preexec_fn=unlimited,
                               **more)
    if process.stdout.readline() != b"ready\n":
        raise Wrong(f"{path} did not start")
    return process


def die(place, process):
    before = place.dumps()
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    return place.outcome(process.pid, before)


def elf32(place):
    """Not understood yet: its memory is refused, its crash is not forgotten."""
    program = os.path.join(place.sieve.dir, "elf32")
    with open(program, "wb") as f:
        f.write(ELF32)
    os.chmod(program, 0o755)
    try:
        process = start(program)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        print("# no 32-bit programs on this kernel", flush=True)
        return
    record, dumps = die(place, process)
    if dumps or record["verdict"]["content"] != "refuse" or \
            record["verdict"]["causes"] != ["core-foreign"]:
        raise Wrong(f"{record['verdict']} {dumps}")


def main_thread_dead(place):
    """/proc/PID shows no memory then; the thread that crashed still has it."""
    process = place.victim("leaderless")
    wait_for("the main thread's end",
             lambda: read(f"/proc/{process.pid}/stat").rpartition(")")[2].split()[0] == "Z")
    record, dumps = die(place, process)
    if record["tid"] == record["pid"] or not dumps or record["verdict"]["content"] != "redact":
        raise Wrong(f"{record}")
    if record["tag"]["state"] != "tagged" or record["comm"] != "victim":
        raise Wrong(f"{record['comm']} {record['tag']}")
    place.check_clean(record)


def dumpable_2(place):
    """A set-uid program: the kernel dumps it for root only, and the store is root's."""
    program = os.path.join(place.sieve.dir, "setuid")
    shutil.copy(VICTIM, program)
    os.chmod(program, 0o4755)
    old = read(SUID_DUMPABLE)
    write(SUID_DUMPABLE, "2")
    try:
        process = start(program, place.key, user="nobody", cwd="/")
        record, dumps = die(place, process)
    finally:
        write(SUID_DUMPABLE, old)
    if record["dump_mode"] != 2 or not dumps or record["verdict"]["content"] != "redact":
        raise Wrong(f"{record}")
    place.check_clean(record)


def no_helper(place):
    """RLIMIT_CORE=1 and PR_SET_DUMPABLE 0: the kernel starts no helper, and there is no dump. No
    record either, until there is a ledger in the kernel (`status` says so)."""
    for how in ("rlimit1", "undumpable"):
        before = place.dumps()
        process = place.victim(how)
        os.kill(process.pid, signal.SIGSEGV)
        _, status = os.waitpid(process.pid, 0)
        if status & CORE_DUMPED:
            raise Wrong(f"{how}: the kernel says that it dumped")
        wait_for("the end of every helper", lambda: not place.at_work())
        if place.records(process.pid) or place.dumps() - before:
            raise Wrong(f"{how}: {place.records(process.pid)} {place.dumps() - before}")
    place.expect_kept()         # the next one is none of theirs


def storm(place):
    """More crashes at once than helpers may be at work: each has its one record."""
    before = place.dumps()
    processes = [place.victim() for _ in range(12)]
    for p in processes:
        os.kill(p.pid, signal.SIGSEGV)
    for p in processes:
        p.wait()
    for p in processes:
        place.outcome(p.pid, before)
    if place.sieve.command("audit", "verify").returncode != 0:
        raise Wrong("the chain is broken")


def programs_where_others_write(place):
    """Whoever may write a directory may put another program in the helper's place; not with the
    sticky bit, where what root owns stays root's."""
    open_dir = os.path.join(place.sieve.dir, "o")
    shutil.copytree(os.path.join(BUILD, "bin"), open_dir)
    for mode, status in ((0o777, 2), (0o1777, 0)):
        os.chmod(open_dir, mode)
        result = subprocess.run([os.path.join(open_dir, "coresieve"), "--root", place.root,
                                 "enable"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True)
        if result.returncode != status:
            raise Wrong(f"mode {mode:o}: exit {result.returncode}: {result.stderr}")
        if status and "others than root may write it" not in result.stderr:
            raise Wrong(result.stderr)
    place.sieve.enable()
    place.expect_kept()


def works(place):
    place.expect_kept()


FAULTS = [works, programs_where_others_write, maps_unpinned, links_detached, each_link_detached, canary_replaced,
          canary_missing, maps_of_another_version, maps_of_another_boot, policy_broken,
          policy_missing, store_missing, store_read_only,
          store_full, store_over_limit, store_world_writable, store_is_a_link, log_disk_full,
          log_is_a_fifo, worker_missing, key_rotated, key_unlinked, disagree, rlimit_zero,
          comm_of_any_bytes, foreign_holder, elf32, main_thread_dead, dumpable_2, no_helper, storm]


def faults(only):
    good = True
    for fault in FAULTS:
        if only and fault.__name__ not in only:
            continue
        with Sieve(POLICY, wrapper=None) as sieve:
            good = run(fault.__name__.replace("_", " "), fault, Place(sieve)) and good
    return good


MALFORMED = os.path.join(BUILD, "tools", "malformed_core")


def feed(place, stream, cause):
    with open(os.path.join(place.sieve.dir, "stream"), "wb") as f:
        f.write(stream)
    place.expect_none(cause)


def malformed_heads(place):
    """Each head of the table comes down the pipe of a real crash."""
    listed = subprocess.run([MALFORMED, "list"], check=True, stdout=subprocess.PIPE, text=True)
    cases = [line.split(None, 2) for line in listed.stdout.splitlines()]
    if len(cases) < 30:
        raise Wrong(f"only {len(cases)} malformed heads")
    for number, cause, name in cases[::1 if SOAK else 4]:
        stream = subprocess.run([MALFORMED, number], check=True, stdout=subprocess.PIPE).stdout
        try:
            feed(place, stream, cause)
        except Wrong as error:
            raise Wrong(f"{name}: {error}") from error


def stream_of_another(place):
    """A whole, sound head, but of another process than the one that dies."""
    sound = subprocess.run([MALFORMED, "sound"], check=True, stdout=subprocess.PIPE).stdout
    feed(place, sound, "identity")


def stream_empty(place):
    feed(place, b"", "core-cut")


def fed(only):
    good = True
    with Sieve(POLICY, wrapper="feed_helper") as sieve:
        place = Place(sieve)
        for function in (malformed_heads, stream_of_another, stream_empty):
            if not only or function.__name__ in only:
                good = run(function.__name__.replace("_", " "), function, place) and good
    return good


def cut_files(place):
    """An existing core, cut at 50 places behind its head: no output, exit 2."""
    crash = place.sieve
    process = place.victim()
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    raw = crash.collect(process.pid).raw
    size = os.path.getsize(raw)
    out = os.path.join(crash.dir, "out")
    head = 16 << 10
    whole = crash.command("redact", raw, out, "--key", place.key)
    os.unlink(out)
    for i in range(50):
        os.truncate(raw, size - 1 - (size - head) * i // 50)
        result = crash.command("redact", raw, out, "--key", place.key, check=False)
        if result.returncode != 2 or os.path.exists(out) or not result.stderr:
            raise Wrong(f"cut to {os.path.getsize(raw)}: exit {result.returncode}, {result.stderr}")
    if whole.returncode != 0:
        raise Wrong("the whole core was refused")


def cut(only):
    if only and "cut_files" not in only:
        return True
    with Sieve(POLICY) as sieve:
        return run("an existing core cut at 50 places", cut_files, Place(sieve))


if __name__ == "__main__":
    ok = faults(sys.argv[1:])
    ok = fed(sys.argv[1:]) and ok
    ok = cut(sys.argv[1:]) and ok
    sys.exit(0 if ok else 1)
