#!/usr/bin/python3
"""anomalies: helper, its child before exec and the worker run under a tracer that spoils one
system call of one of them, in the manner of SQLite's anomaly tests (P2, P6, P7).

Whatever call fails, whoever is killed, whatever the worker tries: a whole clean dump or none, one
record, and nothing left behind. `check` takes a sample, `soak` every call with every error.

    anomalies.py [NAME…]

CORESIEVE_ERRORS=EIO,ENOMEM    errors to put in (default: EIO; soak: all of ERRORS)
CORESIEVE_SLICE=K/N            only the Kth of N parts of the calls, K from 1 on

core_pattern's lock is given back after each error, so that others get their turn. TAP on stdout.
"""

import ctypes
import errno
import os
import signal
import sys
import time

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
sys.dont_write_bytecode = True
from crash import Sieve, read, wait_for  # noqa: E402
from place import POLICY, SOAK, Meddler, Place, Wrong, json_lines, run  # noqa: E402

ERRORS = ["EIO", "ENOMEM", "EINTR", "ENOSPC", "EMFILE"]
SAMPLE = 12                # calls of each process in `check`
TURN_SEC = 0.5             # for whoever waits for the lock of core_pattern


def environment_slice():
    part, _, parts = os.environ.get("CORESIEVE_SLICE", "1/1").partition("/")
    return int(part), int(parts)


def calls_to_spoil(count):
    part, parts = environment_slice()
    if SOAK or parts > 1:
        return range(part, count + 1, parts)
    return range(1, count + 1, max(1, count // SAMPLE))


def chain_holds(place, ids):
    """After one more crash every record stands in the log, once, and none waits elsewhere."""
    Meddler(place).prepare(None)
    ids = [*ids, place.expect_kept()["id"]]
    log = "".join(json_lines(os.path.join(place.log_dir, "audit.jsonl")))
    for i in ids:
        if log.count(f'"id":"{i}"') != 1:
            raise Wrong(f"record {i} is {log.count(i)} times in the log")
    verified = place.sieve.command("audit", "verify", check=False)
    if verified.returncode != 0:
        raise Wrong(f"audit verify: {verified.stdout}{verified.stderr}")
    if waiting := [name for name in os.listdir(place.run) if name.endswith(".jsonl")]:
        raise Wrong(f"{waiting} still wait")


def anomalies(place, code):
    """Each system call of each of our processes fails once."""
    meddler = Meddler(place)
    counts = meddler.counts()
    print(f"# system calls: {counts}")
    good, ids = True, []
    for role, count in counts.items():
        wrong, tried = [], calls_to_spoil(count)
        for n in tried:
            try:
                ids.append(meddler.fail(role, n, getattr(errno, code))["id"])
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(f"call {n}: {error}")
                for name in place.dumps():
                    os.unlink(os.path.join(place.store, name))
        name = f"{role}: {len(tried)} of {count} system calls fail with {code}"
        print(("not ok " if wrong else "ok ") + name)
        print("".join(f"#   {w[:1000]}\n" for w in wrong), end="", flush=True)
        good = good and not wrong
    return run(f"the chain holds after {code}", chain_holds, place, ids) and good


def killed_at(place, what, cause):
    """The worker (or the dying process) is killed at calls spread over the worker's whole life."""
    meddler = Meddler(place)
    count = meddler.counts()["worker"]
    causes = set()
    for n in range(1, count + 1, max(1, count // (60 if SOAK else 10))):
        record, dumps, _ = meddler.crash(f"worker {n} {what} {signal.SIGKILL.value}")
        place.check_tidy(record)
        if dumps:
            # After its answer was written the worker has nothing left to lose.
            place.check_clean(record)
        causes |= set(record["verdict"]["causes"])
    if cause not in causes:
        raise Wrong(f"causes were {causes}, never {cause}")


FLUSHES_MAX = 20


def fsync_fails(place):
    """Each flush of the helper: the dump's and its directory's, whose failure is the store's; the
    log's, whose failure takes the dump back; the tip's, which the next record mends."""
    meddler = Meddler(place)
    causes = []
    for n in range(1, FLUSHES_MAX):
        record, dumps, log = meddler.crash(f"helper {n} fail-flush {errno.EIO}")
        place.check_tidy(record)
        if dumps:
            place.check_clean(record)
        if f"did helper {n} " not in log:
            break
        causes.append(next(iter(record["verdict"]["causes"]), "none"))
    if causes.count("store-failed") != 2 or causes.count("log-failed") < 1 or "none" not in causes:
        raise Wrong(f"this came of each failed flush: {causes}")


CONFINED = ["open", "openat", "socket", "execve", "ptrace", "fork", "clone", "process_vm_readv",
            "kill"]


def confined(place, call):
    """P7: the call is put into the installed worker while it learns; it dies, and is recorded."""
    meddler = Meddler(place)
    count = meddler.counts()["worker"]
    record, dumps, log = meddler.crash(f"worker {count // 2} call {call}")
    if dumps or "worker-killed" not in record["verdict"]["causes"]:
        raise Wrong(f"the worker survived {call}: {record['verdict']} {log}")
    if "end worker signal 31" not in log:
        raise Wrong(f"not by SIGSYS: {log}")
    place.check_tidy(record)


PAUSE_MS = 1500            # the worker stands still so long, to be looked at
DESCRIPTORS = {0: "pipe:", 1: "/var/lib/coresieve/dumps/", 2: "/dev/null", 3: "/memfd:brief",
               4: "pipe:", 5: "/mem", 6: "/pagemap", 7: "/keys/test.key"}


def worker_state(meddler):
    line = wait_for("the worker to stand still", lambda: os.path.exists(meddler.log) and next(
        (line for line in read(meddler.log).splitlines() if line.startswith("did worker ")), None))
    pid = int(line.split()[4])
    status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines()
                  if ":\t" in line)
    fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    limits = {line[:26].strip(): line[26:].split()[0]
              for line in read(f"/proc/{pid}/limits").splitlines()}
    return os.readlink(f"/proc/{pid}/exe"), status, fds, limits


def landlock_of_kernel():
    """Its ABI, as landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) says."""
    return max(0, ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


def privileges(place):
    """P7: what the kernel says of the installed worker while it learns.

    Landlock shows nowhere in /proc, and by behaviour it cannot show here: the filter kills at the
    call that Landlock would refuse. That it refuses is shown where the filter is left out
    (tests/unit/core_pattern/test_sandbox.c); here the worker's record must say that it is on."""
    meddler = Meddler(place)
    meddler.prepare(f"worker {meddler.counts()['worker'] // 2} pause {PAUSE_MS}")
    before = place.dumps()
    process = place.victim()
    os.kill(process.pid, signal.SIGSEGV)
    exe, status, fds, limits = worker_state(meddler)
    process.wait()
    record, _ = place.outcome(process.pid, before)

    uid = read(os.path.join(place.root, "etc/passwd")).split(":")[2]
    wanted = {"Uid": "\t".join([uid] * 4), "Gid": "\t".join([uid] * 4), "Groups": " ",
              **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
              "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1", "Threads": "1"}
    wrong = {k: status.get(k) for k, v in wanted.items()
             if (status.get(k) or "").strip() != v.strip()}
    if uid == "0" or wrong:
        raise Wrong(f"{exe}: {wrong} instead of {wanted}")
    if set(fds) != set(DESCRIPTORS) or not all(DESCRIPTORS[n] in fds[n] for n in fds):
        raise Wrong(f"descriptors {fds}")
    if limits["Max core file size"] != "1" or limits["Max locked memory"] != "0":
        raise Wrong(f"limits {limits}")
    if record["worker"]["landlock"] != landlock_of_kernel():
        raise Wrong(f"no Landlock: {record['worker']}")
    place.check_clean(record)


def spoilt(only):
    cases = [("worker killed at any time", killed_at, "signal", "worker-killed"),
             ("the dying process killed at any time", killed_at, "victim", "core-cut"),
             ("fsync fails", fsync_fails),
             ("worker confined: as /proc shows it", privileges),
             *((f"worker confined: {call}", confined, call) for call in CONFINED)]
    cases = [case for case in cases if not only or case[0] in only]
    good = True
    if cases:
        with Sieve(POLICY, wrapper="meddle") as sieve:
            place = Place(sieve)
            for name, function, *arguments in cases:
                good = run(name, function, place, *arguments) and good
    return good


def main():
    only = sys.argv[1:]
    good = spoilt(only)
    chosen = os.environ.get("CORESIEVE_ERRORS")
    errors = chosen.split(",") if chosen else ERRORS if SOAK else ERRORS[:1]
    for code in errors if not only or "anomalies" in only else []:
        with Sieve(POLICY, wrapper="meddle") as sieve:
            good = anomalies(Place(sieve), code) and good
        time.sleep(TURN_SEC)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
