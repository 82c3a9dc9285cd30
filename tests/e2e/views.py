#!/usr/bin/python3
"""views: rules are paths as the host and as the process sees them (P3).

Each victim lives in a mount namespace of its own and reads a file at a rule's path that may be
another file there than on the host. TAP on stdout.
"""

import os
import shutil
import signal
import subprocess
import sys
import traceback

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
sys.dont_write_bytecode = True
from crash import BUILD, Sieve  # noqa: E402
from targets import certificate  # noqa: E402

VICTIM = os.path.join(BUILD, "tools", "victim")
POLICY = """[Default]
KeepFree=0
[Secret test]
File={dir}/keys/*.key
File={dir}/there/*.key
[Secret grave]
File={dir}/grave/*.key
Content=refuse
"""


class Wrong(Exception):
    pass


def key(directory):
    os.makedirs(directory, exist_ok=True)
    return certificate(directory, "test", "ec")[0]


def crash(sieve, mounts, path):
    """The crash of a process that made `mounts` (shell commands) for itself and then read `path`."""
    script = f"set -e; {mounts}\nulimit -c unlimited; exec {VICTIM} {path}"
    process = subprocess.Popen(["unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                                script], stdout=subprocess.PIPE)
    if process.stdout.readline() != b"ready\n":
        raise Wrong("the victim did not start")
    try:
        return sieve.crash(process.pid, signal.SIGSEGV)
    finally:
        process.wait()


def leaks(secret, core):
    run = subprocess.run(["/usr/bin/python3", "-B", os.path.join(LIB, "leakcheck.py"), "--key",
                          secret, core], stdout=subprocess.DEVNULL)
    if run.returncode not in (0, 1):
        raise Wrong(f"leakcheck: exit status {run.returncode}")
    return run.returncode == 1


def expect(crashed, content, causes, flags, secret=None):
    """`flags`: of each file in the record. With `secret`: it was in memory, and is not in the dump."""
    verdict, tag = crashed.record["verdict"], crashed.record["tag"]
    found = [f["flags"] for f in tag["files"]]
    if (verdict["content"], verdict["causes"], found) != (content, causes, flags):
        raise Wrong(f"{verdict} {tag}")
    if (content == "refuse") != (crashed.clean is None):
        raise Wrong(f"a dump: {crashed.clean}")
    if secret and not leaks(secret, crashed.raw):
        raise Wrong("the secret was not even in memory")
    if secret and crashed.clean and leaks(secret, crashed.clean):
        raise Wrong("the secret is in the dump")


def bound_directory(sieve):
    """The key lies where no rule looks; only the process has it at a rule's path."""
    d = sieve.dir
    hidden = key(f"{d}/hidden")
    crashed = crash(sieve, f"mount --bind {d}/hidden {d}/keys", f"{d}/keys/test.key")
    expect(crashed, "stacks", ["unwatched-file"], [["key", "unwatched"]], hidden)
    tag = crashed.record["tag"]
    if tag["state"] != "unknown-history" or [x["label"] for x in tag["labels"]] != ["test"]:
        raise Wrong(f"{tag}")
    if int(tag["files"][0]["fragments"]) == 0:
        raise Wrong("the key was in memory and not hunted")


def bound_and_not_read(sieve):
    """Nobody saw whether it was read: the cost of such a mount is the same."""
    d = sieve.dir
    key(f"{d}/hidden")
    crashed = crash(sieve, f"mount --bind {d}/hidden {d}/keys", "/etc/hostname")
    expect(crashed, "stacks", ["unwatched-file"], [["key", "unwatched"]])


def bound_file(sieve):
    d = sieve.dir
    hidden = key(f"{d}/hidden")
    crashed = crash(sieve, f"mount --bind {d}/hidden/test.key {d}/keys/test.key",
                    f"{d}/keys/test.key")
    expect(crashed, "stacks", ["unwatched-file"], [["key", "unwatched"]], hidden)


def bound_watched_directory(sieve):
    """A watched directory is watched wherever it is mounted: read, and not read."""
    d = sieve.dir
    mount = f"mount --bind {d}/keys {d}/there"
    expect(crash(sieve, mount, f"{d}/there/test.key"), "redact", [], [["key"]],
           f"{d}/keys/test.key")
    expect(crash(sieve, mount, "/etc/hostname"), "detect", [], [])


def own_namespace_alone(sieve):
    """A namespace without a mount of its own costs nothing; an absence is proved as on the host."""
    crashed = crash(sieve, ":", "/etc/hostname")
    expect(crashed, "detect", [], [])
    if crashed.record["tag"]["state"] != "clean":
        raise Wrong(f"{crashed.record['tag']}")


def own_root(sieve):
    """A chroot: its paths are those of rules too."""
    d = sieve.dir
    root = f"{d}/root"
    hidden = key(f"{root}{d}/keys")
    for place in ("bin", "lib", "lib64", "usr", "proc"):
        os.makedirs(f"{root}/{place}", exist_ok=True)
    shutil.copy(VICTIM, f"{root}/victim")
    mounts = "; ".join(f"mount --bind /{p} {root}/{p}" for p in ("lib", "lib64", "usr"))
    process = subprocess.Popen(["unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                                f"set -e; {mounts}; ulimit -c unlimited; "
                                f"exec chroot {root} /victim {d}/keys/test.key"],
                               stdout=subprocess.PIPE)
    if process.stdout.readline() != b"ready\n":
        raise Wrong("the victim did not start")
    crashed = sieve.crash(process.pid, signal.SIGSEGV)
    process.wait()
    expect(crashed, "stacks", ["unwatched-file"], [["key", "unwatched"]], hidden)


def own_tmpfs(sieve):
    """What a container is given on tmpfs: seen by nobody, unless the policy accepts it by name."""
    d = sieve.dir
    hidden = key(f"{d}/hidden")
    mounts = f"mount -t tmpfs none {d}/keys; cp {d}/hidden/test.key {d}/keys"
    crashed = crash(sieve, mounts, f"{d}/keys/test.key")
    expect(crashed, "stacks", ["unwatched-file"], [["key", "unwatched"]], hidden)


def content_of_the_secret(sieve):
    d = sieve.dir
    key(f"{d}/hidden")
    crashed = crash(sieve, f"mount --bind {d}/hidden {d}/grave", f"{d}/grave/test.key")
    expect(crashed, "refuse", ["policy-content", "unwatched-file"], [["unwatched"]])


def accepted_tmpfs(sieve):
    d = sieve.dir
    key(f"{d}/hidden")
    mounts = f"mount -t tmpfs none {d}/keys; cp {d}/hidden/test.key {d}/keys"
    expect(crash(sieve, mounts, "/etc/hostname"), "detect", [], [])


def run(sieve, function):
    name = function.__name__.replace("_", " ")
    try:
        function(sieve)
        print(f"ok {name}", flush=True)
        return True
    except Exception as error:  # pylint: disable=broad-except
        text = str(error) if isinstance(error, Wrong) else traceback.format_exc()
        print(f"not ok {name}")
        print("\n".join("#   " + line for line in text.splitlines()), flush=True)
        return False


def main(only):
    good = True
    for policy, functions in (
            (POLICY, (bound_directory, bound_and_not_read, bound_file, bound_watched_directory,
                      own_namespace_alone, own_root, own_tmpfs, content_of_the_secret)),
            (POLICY.replace("KeepFree=0", "KeepFree=0\nAcceptBlind=tmpfs"), (accepted_tmpfs,))):
        wanted = [f for f in functions if not only or f.__name__ in only]
        if not wanted:
            continue
        with Sieve(policy) as sieve:
            key(f"{sieve.dir}/keys")
            for directory in ("there", "grave"):
                os.makedirs(f"{sieve.dir}/{directory}")
            sieve.enable()      # the directories are there now
            for function in wanted:
                good = run(sieve, function) and good
    return good


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
