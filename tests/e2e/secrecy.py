#!/usr/bin/python3
"""secrecy: real programs with fresh keys crash; what lands in the store holds none of them.

For every cell (program x way to crash x secret x form) the kernel's own stream of the same crash
is searched with the same code: a clean cell whose raw core did not hold the form reads "not
exercised" and proves nothing. The same crashes prove P4 (frames in gdb, eu-stack and lldb,
program headers) and exactness (every byte outside the note's ranges is the kernel's).

TAP on stdout. CORESIEVE_MODE=soak crashes each program in all four ways, else in two.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
sys.dont_write_bytecode = True
import exact  # noqa: E402
import targets  # noqa: E402
from crash import Sieve  # noqa: E402

WAYS = {  # name: (signal, from a second thread under load)
    "SIGSEGV, idle": (signal.SIGSEGV, False),
    "SIGABRT, second thread under load": (signal.SIGABRT, True),
    "SIGABRT, idle": (signal.SIGABRT, False),
    "SIGSEGV, second thread under load": (signal.SIGSEGV, True),
}
FRAMES_MIN = 5
DEBUGGERS = "lldb", "gdb", "eu-stack"


def tap(good, name, *comments):
    print(("ok " if good else "not ok ") + name)
    for comment in comments:
        for line in str(comment).splitlines():
            print("#   " + line)
    sys.stdout.flush()
    return good


def tool(name, *arguments):
    run = subprocess.run(["/usr/bin/python3", "-B", os.path.join(LIB, name), *arguments, "--json"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"{name} {arguments}: {run.stderr[-500:]}")
    return run.returncode, json.loads(run.stdout)


def cells(core, target):
    """{(secret, form): copies} of one core."""
    found = {}
    for path in target.files:
        _, result = tool("leakcheck.py", "--key", path, core)
        for form, count in result["forms"].items():
            found[os.path.basename(path), form] = count
    for i, text in enumerate(target.texts):
        _, result = tool("leakcheck.py", f"--text={text}", core)
        for form, count in result["forms"].items():
            found[f"text {i}", form] = count
    return found


def frames(crash, target, debugger):
    return tool("frames.py", crash.raw, crash.clean, target.exe, "--debugger", debugger)


def check_secrecy(name, raw, clean):
    rows = [f"{s:12} {form:28} raw {raw[s, form]:5}  clean "
            f"{clean[s, form] if raw[s, form] or clean[s, form] else 'not exercised'}"
            for s, form in raw if raw[s, form] or clean[s, form]]
    secrets = {s for s, _ in raw}
    exercised = {s for (s, _), count in raw.items() if count}
    return tap(not any(clean.values()) and exercised == secrets, f"{name}: no secret survives",
               *rows, *(f"{s}: not exercised at all" for s in secrets - exercised))


def check_frames(name, crash, answers):
    """`answers`: {debugger: what frames() gave}."""
    unwind = crash.record["unwind"]
    counts = {d: result["debuggers"][d]["frames"] for d, (_, result) in answers.items()}
    same = not any(code for code, _ in answers.values())
    deep = min(counts.values()) >= FRAMES_MIN
    return tap(same and deep and unwind["result"] == "same",
               f"{name}: same frames in gdb, eu-stack and lldb, and the worker agrees",
               counts if same and deep else json.dumps(answers)[:4000], unwind)


def check_exact(name, crash):
    try:
        result = exact.compare(crash.raw, crash.clean)
        return tap(result["ranges"] > 0 and result["changed"] > 0,
                   f"{name}: outside of the note's ranges every byte is the kernel's", result)
    except exact.Inexact as error:
        return tap(False, f"{name}: outside of the note's ranges every byte is the kernel's", error)


def run(sieve, cls, way, how, threaded):
    name = f"{cls.__name__}: {way}"
    target = cls(os.path.join(sieve.dir, name.replace(" ", "").replace(":", "-").replace(",", "-")))
    try:
        target.start()
        target.exercise()
        if threaded:
            target.load()
        target.still()
        crash = sieve.crash(target.pid, how, target.trigger if threaded else None)
    except Exception:  # pylint: disable=broad-except
        return tap(False, f"{name}: crashes through Coresieve", traceback.format_exc())
    finally:
        target.stop()
    if not crash.clean:
        return tap(False, f"{name}: a dump is kept", json.dumps(crash.record))
    # Programs of their own, all of them: the longest first, and as many as there are processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = {d: pool.submit(frames, crash, target, d) for d in DEBUGGERS}
        raw, clean = (pool.submit(cells, core, target) for core in (crash.raw, crash.clean))
        good = check_exact(name, crash)
        good = check_secrecy(name, raw.result(), clean.result()) and good
        good = check_frames(name, crash, {d: a.result() for d, a in answers.items()}) and good
    for path in (crash.raw, crash.clean):
        os.unlink(path)
    return good


def main():
    ways = list(WAYS.items())
    if os.environ.get("CORESIEVE_MODE") != "soak":
        ways = ways[:2]
    only = sys.argv[1:]
    good = True
    with Sieve("[Secret test]\nFile={dir}/*/keys/*.key\n") as sieve:
        for cls in targets.ALL:
            for way, (how, threaded) in ways:
                if not only or cls.__name__ in only:
                    good = run(sieve, cls, way, how, threaded) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
