"""Has frames.py teeth? On a core that the kernel writes of a child with two threads."""

import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402

FILL = b"REDACTED"
PROGRAM = """
import threading, time
thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
thread.start()
print("ready", flush=True)
time.sleep(600)
"""
EXE = os.path.realpath("/usr/bin/python3")
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

LOCK = "/run/lock/core_pattern.lock"
PATTERN = "/proc/sys/kernel/core_pattern"


def crash(directory):
    """Crashes the child in `directory`; returns its pid and its core."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    child = subprocess.Popen([EXE, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=directory,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited))
    with child.stdout:
        child.stdout.readline()
    time.sleep(0.2)
    child.send_signal(signal.SIGABRT)
    child.wait()
    core = next((f for f in os.listdir(directory) if f.startswith("core")), None)
    if core is None:
        raise unittest.SkipTest("the kernel wrote no core")
    return child.pid, os.path.join(directory, core)


def kernel_core(directory):
    """core_pattern is global: nobody changes it while the child dies, and where it does not name a
    file in the child's directory it is put back on any exit."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("core_pattern needs root")
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(PATTERN) as f:
            old = f.read().rstrip("\n")
        if old.startswith("core") and "/" not in old:
            return crash(directory)

        def ended(number, _):
            sys.exit(128 + number)

        before = {n: signal.signal(n, ended) for n in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with open(PATTERN, "w") as f:
                f.write("core")
            return crash(directory)
        finally:
            with open(PATTERN, "w") as f:
                f.write(old + "\n")
            for number, handler in before.items():
                signal.signal(number, handler)


def replace_word(source, target, word, by):
    """Copies a core with every 8-aligned `word` replaced; returns how many there were."""
    with open(source, "rb") as f:
        data = bytearray(f.read())
    n = 0
    at = data.find(word)
    while at >= 0:
        if at % 8 == 0:
            data[at:at + 8] = by
            n += 1
        at = data.find(word, at + 1)
    with open(target, "wb") as f:
        f.write(data)
    return n


# core_pattern is the host's, and so is the lock around it: another root has another lock.
@unittest.skipIf(subprocess.run([os.path.join(TOP, "scripts", "foreign-root")]).returncode == 0,
                 "in a chroot or container: core_pattern is the host's")
class Cores(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="frames_")
        cls.other = os.path.join(cls.dir, "other")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.pid, cls.raw = kernel_core(cls.dir)

    def broken(self, word, by=FILL):
        self.assertGreater(replace_word(self.raw, self.other, word, by), 0)
        return frames.compare(self.raw, self.other, EXE)

    def return_address(self, frame):
        return struct.pack("<Q", frames.trace_eu_stack(self.raw, EXE)[self.pid][frame][0])

    def test_a_core_equals_itself_in_every_debugger_down_to_start(self):
        result = frames.compare(self.raw, self.raw, EXE)
        self.assertTrue(result["equal"])
        for name, debugger in result["debuggers"].items():
            self.assertEqual(len(debugger["threads"]), 2, name)
            main = debugger["threads"][str(self.pid)]
            self.assertTrue(main["ended"], name)
            self.assertGreater(main["frames"], 8, name)
            self.assertIn("_start", main["functions"][-1], name)

    def test_a_return_address_erased_is_a_difference_in_every_debugger(self):
        result = self.broken(self.return_address(2))
        self.assertFalse(result["equal"])
        for name, debugger in result["debuggers"].items():
            self.assertFalse(debugger["equal"], name)
            self.assertFalse(debugger["threads"][str(self.pid)]["equal"], name)

    def test_another_return_address_in_code_is_a_difference(self):
        result = self.broken(self.return_address(3), self.return_address(4))
        for name, debugger in result["debuggers"].items():
            self.assertFalse(debugger["equal"], name)

    def test_what_stands_behind_a_smashed_return_address_does_not_count(self):
        smashed = os.path.join(self.dir, "smashed")
        word = self.return_address(2)
        self.assertGreater(replace_word(self.raw, smashed, word, b"AAAAAAAA"), 0)
        replace_word(self.raw, self.other, word, FILL)
        result = frames.compare(smashed, self.other, EXE)
        for name in "gdb", "eu-stack":
            thread = result["debuggers"][name]["threads"][str(self.pid)]
            self.assertTrue(thread["equal"], name)
            self.assertFalse(thread["ended"] and thread["frames"] > 4, name)

    def test_a_thread_that_is_lost_is_a_difference(self):
        with open(self.raw, "rb") as f:
            data = bytearray(f.read())
        tids = sorted(frames.trace_eu_stack(self.raw, EXE))
        other = next(tid for tid in tids if tid != self.pid)
        note = struct.pack("<i", other)
        # The thread's id in its NT_PRSTATUS, 32 bytes into a descriptor of 336.
        at = data.find(b"CORE\0\0\0\0")
        while at >= 0:
            if struct.unpack_from("<II", data, at - 8) == (336, 1) and \
                    data[at + 8 + 32:at + 8 + 36] == note:
                data[at + 8 + 32:at + 8 + 36] = struct.pack("<i", other + 10000)
            at = data.find(b"CORE\0\0\0\0", at + 1)
        with open(self.other, "wb") as f:
            f.write(data)
        result = frames.compare(self.raw, self.other, EXE, ("eu-stack", "lldb"))
        for name, debugger in result["debuggers"].items():
            self.assertFalse(debugger["equal"], name)
            self.assertEqual(len(debugger["threads"]), 3, name)

    def test_a_core_that_no_debugger_reads_is_a_difference(self):
        with open(self.other, "wb") as f, open(self.raw, "rb") as raw:
            f.write(raw.read(64))
        result = frames.compare(self.raw, self.other, EXE, ("eu-stack",))
        self.assertFalse(result["equal"])

    def test_the_program_tells_by_its_exit_status(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "frames.py")

        def status(*arguments):
            return subprocess.run([sys.executable, "-B", script, *arguments],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

        self.assertEqual(status(self.raw, self.raw, EXE, "--json"), 0)
        replace_word(self.raw, self.other, self.return_address(2), FILL)
        self.assertEqual(status(self.raw, self.other, EXE, "--debugger", "eu-stack"), 1)
        self.assertEqual(status("/dev/null", self.raw, EXE), 2)
        self.assertEqual(status(self.raw, self.other + ".none", EXE), 2)


class ValidPart(unittest.TestCase):
    CODE = [(0x1000, 0x2000)]

    def test_frame_0_counts_wherever_it_points(self):
        self.assertEqual(frames.valid_part([(0, None), (0x1800, None)], self.CODE),
                         ([(0, None), (0x1800, None)], True))

    def test_the_first_caller_outside_of_code_ends_it(self):
        self.assertEqual(frames.valid_part([(0x1000, None), (0x3000, None), (0x1001, None)],
                                           self.CODE), ([(0x1000, None)], False))

    def test_a_return_address_may_stand_behind_the_last_call(self):
        self.assertEqual(len(frames.valid_part([(0x1000, None), (0x2000, None)], self.CODE)[0]), 2)
        self.assertEqual(len(frames.valid_part([(0x1000, None), (0x2001, None)], self.CODE)[0]), 1)


if __name__ == "__main__":
    unittest.main()
