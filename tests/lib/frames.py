"""frames: do gdb, eu-stack and lldb show the same backtraces for two cores of one crash? (P4)

    frames.py RAW.core REDACTED.core EXE [--json] [--debugger NAME]...

Every debugger walks every thread of both cores. Frames are compared by PC, thread by thread, in
the valid part: frame 0 and its callers up to the first whose PC lies in no executable PT_LOAD of
the core; there and behind it debuggers guess. A thread that only one core shows is a difference.

Exit 0 equal, 1 different, 2 cannot answer (a debugger is missing, too slow, or finds no thread in
the raw core; a file is no core). JSON: {"equal", "debuggers": {NAME: {"equal", "frames", "error",
"threads": {TID: {"equal", "frames", "pcs", "functions", "ended", "redacted_pcs"}}}}}; "frames"
counts the raw core's valid part, PCs are hexadecimal strings, "ended" says whether the raw walk
stayed in code to its end, "error" why the redacted core could not be read.
"""

import argparse
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile

TIMEOUT_SEC = 180
FRAMES_MAX = 2048
PT_LOAD, PF_X, PN_XNUM = 1, 1, 0xFFFF

# Runs in gdb's own Python and prints one JSON object behind MARK: {tid: [[pc, function], ...]}.
# Inlined frames share the PC of the frame they stand in.
MARK = "@@frames@@"
GDB_SCRIPT = """
import gdb, json
out = {}
for thread in gdb.selected_inferior().threads():
    frames = []
    try:
        thread.switch()
        frame = gdb.newest_frame()
        while frame is not None and len(frames) < %d:
            if frame.type() != gdb.INLINE_FRAME:
                frames.append([frame.pc(), frame.name()])
            frame = frame.older()
    except gdb.error:
        pass
    out[str(thread.ptid[1] or thread.ptid[0])] = frames
print(%r + json.dumps(out))
""" % (FRAMES_MAX, MARK)
# lldb's Python is broken in Debian 12 (it looks for its modules below /usr/lib/local), so lldb is
# made to print what a machine can read.
LLDB_SCRIPT = f"""
settings set symbols.enable-external-lookup false
settings set target.load-script-from-symbol-file false
settings set thread-stop-format "{MARK}T ${{thread.id%tid}}\\n"
settings set frame-format "{MARK}F ${{frame.pc}}{{ ${{function.name}}}}\\n"
"""


class CannotAnswer(Exception):
    pass


def run(command):
    """stdout of a debugger: without network, and dead with all its children in bounded time."""
    # No DEBUGINFOD_URLS, no start-up files, and the PATH of the distribution: lldb asks the
    # first python3 there for its modules.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent",
                   "LC_ALL": "C.UTF-8"}
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace",
                                   env=environment, start_new_session=True)
    except OSError as error:
        raise CannotAnswer(f"{command[0]}: {error.strerror}") from error
    try:
        out, err = process.communicate(timeout=TIMEOUT_SEC)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise CannotAnswer(f"{command[0]}: no answer in {TIMEOUT_SEC} s") from error
    return out, err


def script_file(text):
    f = tempfile.NamedTemporaryFile("w", prefix="frames_", suffix=".py")
    f.write(text)
    f.flush()
    return f


def trace_gdb(core, exe):
    # Past main, or the way from main to _start would not be seen; libthread_db stays on, as it
    # is for a user: a thread descriptor that it misreads shows as a thread that is not there.
    with script_file(GDB_SCRIPT) as f:
        out, err = run(["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off",
                        "-iex", "set auto-load python-scripts off",
                        "-iex", "set auto-load gdb-scripts off",
                        "-ex", "set backtrace past-main on", "-ex", "set backtrace past-entry off",
                        "-ex", "source " + f.name, exe, core])
    for line in out.splitlines():
        at = line.find(MARK)
        if at >= 0:
            return {int(tid): [tuple(frame) for frame in frames]
                    for tid, frames in json.loads(line[at + len(MARK):]).items()}
    raise CannotAnswer(f"gdb: {(err or out).strip()[-400:]}")


def parse_lines(name, out, err, thread, frame):
    threads, frames = {}, None
    for line in out.splitlines():
        if match := re.search(thread, line):
            frames = threads.setdefault(int(match[1]), [])
        elif frames is not None and (match := re.search(frame, line)):
            frames.append((int(match[1], 16), match[2]))
    if not threads:
        raise CannotAnswer(f"{name}: {(err or out).strip()[-400:]}")
    return threads


def trace_lldb(core, exe):
    with script_file(LLDB_SCRIPT) as f:
        out, err = run(["lldb", "--batch", "--no-lldbinit", "-S", f.name, "--core", core, exe,
                        "-o", "bt all"])
    return parse_lines("lldb", out, err, MARK + r"T (\d+)$", MARK + r"F 0x([0-9a-f]+)(?: (.*))?$")


def trace_eu_stack(core, exe):
    out, err = run(["eu-stack", "-n", str(FRAMES_MAX), "--core=" + core, "--executable=" + exe])
    return parse_lines("eu-stack", out, err, r"^TID (\d+):",
                       r"^#\d+\s+0x([0-9a-f]+)(?: - 1)?(?:\s+(\S.*))?$")


DEBUGGERS = {"gdb": trace_gdb, "eu-stack": trace_eu_stack, "lldb": trace_lldb}


def executable_ranges(core):
    """[(start, end)] of the executable PT_LOADs of a 64-bit core."""
    try:
        with open(core, "rb") as f:
            header = f.read(64)
            if header[:6] != b"\x7fELF\x02\x01":
                raise CannotAnswer(f"{core}: no 64-bit little-endian ELF file")
            phoff, shoff = struct.unpack_from("<QQ", header, 32)
            phnum = struct.unpack_from("<H", header, 56)[0]
            if phnum == PN_XNUM:
                f.seek(shoff)
                phnum = struct.unpack_from("<I", f.read(64), 44)[0]
            f.seek(phoff)
            table = f.read(56 * phnum)
    except (OSError, struct.error) as error:
        raise CannotAnswer(f"{core}: {error}") from error
    headers = struct.iter_unpack("<IIQQQQQQ", table[:len(table) // 56 * 56])
    return [(h[3], h[3] + h[6]) for h in headers if h[0] == PT_LOAD and h[1] & PF_X]


def valid_part(frames, code):
    """The frames that count, and whether the walk stayed in code to its end. A return address may
    stand right behind the last call of its segment."""
    def is_code(pc):
        return any(start <= pc < end or start <= pc - 1 < end for start, end in code)

    for i, (pc, _) in enumerate(frames):
        if i > 0 and not is_code(pc):
            return frames[:i], False
    return frames, True


def compare_thread(raw, redacted, code):
    (raw, ended), (redacted, _) = valid_part(raw or [], code), valid_part(redacted or [], code)
    pcs, redacted_pcs = [f"{pc:#x}" for pc, _ in raw], [f"{pc:#x}" for pc, _ in redacted]
    result = {"equal": pcs == redacted_pcs, "frames": len(raw), "ended": ended, "pcs": pcs,
              "functions": [name for _, name in raw]}
    if pcs != redacted_pcs:
        result["redacted_pcs"] = redacted_pcs
    return result


def compare(raw, redacted, exe, debuggers=tuple(DEBUGGERS)):
    code = executable_ranges(raw)
    executable_ranges(redacted)  # a file that is not there is no answer, and no difference
    results = {}
    for name in debuggers:
        a, b, error = DEBUGGERS[name](raw, exe), {}, None
        if not any(a.values()):
            raise CannotAnswer(f"{name}: no frame in {raw}")
        try:
            b = DEBUGGERS[name](redacted, exe)
        except CannotAnswer as reason:
            # The same debugger has just read the raw core: what it cannot read is the other one.
            error = str(reason)
        threads = {}
        for tid in sorted(a.keys() | b.keys()):
            threads[str(tid)] = compare_thread(a.get(tid), b.get(tid), code)
            threads[str(tid)]["equal"] &= tid in a and tid in b
        results[name] = {"equal": all(t["equal"] for t in threads.values()),
                         "frames": sum(t["frames"] for t in threads.values()),
                         "error": error, "threads": threads}
    return {"equal": all(r["equal"] for r in results.values()), "debuggers": results}


def report(result):
    for name, debugger in result["debuggers"].items():
        if debugger["error"]:
            print(f"{name} cannot read the redacted core: {debugger['error']}")
        for tid, thread in debugger["threads"].items():
            print(f"{name} thread {tid}: {'equal' if thread['equal'] else 'DIFFERENT'}, "
                  f"{thread['frames']} frames{'' if thread['ended'] else ' of code'}")
            if not thread["equal"]:
                print(f"  raw      {' '.join(thread['pcs'])}")
                print(f"  redacted {' '.join(thread.get('redacted_pcs', ['(the same)']))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw")
    parser.add_argument("redacted")
    parser.add_argument("exe")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--debugger", action="append", choices=tuple(DEBUGGERS))
    options = parser.parse_args()
    try:
        result = compare(options.raw, options.redacted, options.exe,
                         options.debugger or tuple(DEBUGGERS))
    except CannotAnswer as error:
        print(f"frames: {error}", file=sys.stderr)
        return 2
    if options.json:
        json.dump(result, sys.stdout)
        print()
    else:
        report(result)
    return 0 if result["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
