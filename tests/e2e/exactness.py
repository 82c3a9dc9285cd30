#!/usr/bin/python3
"""exactness: what is not erased is the kernel's, byte by byte, for every kind of memory.

Each crash is compared with the kernel's own stream of the same crash. An untagged process without
secrets comes out identical but for the ELF header's section fields and what is appended.

TAP on stdout.
"""

import json
import os
import signal
import subprocess
import sys
import traceback

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
sys.dont_write_bytecode = True
import exact  # noqa: E402
from crash import BUILD, Sieve, read, write  # noqa: E402

MAPPINGS = os.path.join(BUILD, "tools", "mappings")
VICTIM = os.path.join(BUILD, "tools", "victim")
PYTHON = "/usr/bin/python3"
UNTAGGED = {
    "every kind of mapping": [MAPPINGS],
    "a huge page": [MAPPINGS, "huge"],
    "20,000 mappings": [MAPPINGS, "many", "20000"],
    "a program without libraries of its own": ["/bin/sh", "-c", "echo ready; kill -STOP $$"],
    "64 threads": [VICTIM, "/etc/hostname", "threads", "64"],
    "a Python program": [PYTHON, "-c", "import json, time; print('ready', flush=True)\n"
                                       "d = {str(i): i * 1.5 for i in range(100000)}\ntime.sleep(99)"],
}
MAX_MAP_COUNT = "/proc/sys/vm/max_map_count"


def tap(good, name, comment=""):
    print(("ok " if good else "not ok ") + name)
    for line in str(comment).splitlines():
        print("#   " + line[:1000])
    sys.stdout.flush()
    return good


def crash(sieve, argv):
    process = subprocess.Popen(["/bin/sh", "-c", "ulimit -c unlimited; exec \"$@\"", "sh", *argv],
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGSEGV)
    os.kill(process.pid, signal.SIGCONT)
    result = sieve.collect(process.pid)
    process.wait()
    return result


def untagged(sieve, name, argv):
    name = f"untagged, {name}: identical to the kernel's stream"
    try:
        c = crash(sieve, argv)
        if not c.clean:
            return tap(False, name, json.dumps(c.record))
        result = exact.compare(c.raw, c.clean)
        return tap(result["ranges"] == 0 and c.record["verdict"]["content"] == "detect", name,
                   f"{result} {c.record['verdict']}")
    except (exact.Inexact, Exception):  # pylint: disable=broad-except
        return tap(False, name, traceback.format_exc())
    finally:
        for f in os.listdir(sieve.dir):
            if f.startswith(("raw.", "clean.")):
                os.unlink(os.path.join(sieve.dir, f))


def many_segments(sieve):
    """More than 65,535 segments: the count stands in a section header (PN_XNUM)."""
    old = read(MAX_MAP_COUNT)
    try:
        write(MAX_MAP_COUNT, "100000")
        return untagged(sieve, "70,000 mappings (PN_XNUM)", [MAPPINGS, "many", "70000"])
    finally:
        write(MAX_MAP_COUNT, old)


def degraded(sieve):
    name = "a secret that is a piece of the stack: erased, and the record says degraded"
    try:
        secret = os.path.join(sieve.dir, "keys", "stack.bin")
        os.makedirs(os.path.dirname(secret), exist_ok=True)
        c = crash(sieve, [MAPPINGS, "degrade", secret])
        if not c.clean:
            return tap(False, name, json.dumps(c.record))
        exact.compare(c.raw, c.clean)
        return tap(c.record["unwind"]["result"] == "degraded", name, c.record["unwind"])
    except (exact.Inexact, Exception):  # pylint: disable=broad-except
        return tap(False, name, traceback.format_exc())


def main():
    with Sieve("[Secret test]\nFile={dir}/keys/*\n") as sieve:
        good = [untagged(sieve, name, argv) for name, argv in UNTAGGED.items()]
        good += [many_segments(sieve), degraded(sieve)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
