"""crash: real crashes through Coresieve, each with the kernel's own stream beside it.

    with Sieve(policy) as sieve:
        process = subprocess.Popen([...])
        crash = sieve.crash(process.pid, signal.SIGSEGV)
        crash.raw, crash.clean, crash.record

core_pattern is global: one lock is held from enable to disable, and what was there before is put
back on any exit. A whole installation lives below one scratch directory (`coresieve --root`).
"""

import atexit
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build")
LOCK = "/run/lock/core_pattern.lock"
PATTERN = "/proc/sys/kernel/core_pattern"
LIMIT = "/proc/sys/kernel/core_pipe_limit"
USER = "coresieve"
WAIT_SEC = 60


def read(path):
    with open(path) as f:
        return f.read().rstrip("\n")


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def wait_for(what, condition, seconds=WAIT_SEC):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{what}: nothing within {seconds} s")


class Crash:
    """One crash: `raw` and `clean` are paths of ELF cores, `clean` None when nothing was kept."""

    def __init__(self, pid, raw, clean, record):
        self.pid, self.raw, self.clean, self.record = pid, raw, clean, record


class Sieve:
    """`policy`: text of policy.conf, {dir} stands for the scratch directory. `wrapper`: a tool of
    tests/tools that runs in our helper's place and then runs ours; tee_helper keeps the kernel's
    stream of each crash, None is nobody."""

    def __init__(self, policy, wrapper="tee_helper"):
        self.policy, self.wrapper = policy, wrapper
        self.tee = wrapper == "tee_helper"
        self.entered = False

    def __enter__(self):
        self.lock = open(LOCK, "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        # Not /tmp: it may be a tmpfs, which the sensor is blind to.
        self.dir = tempfile.mkdtemp(prefix="cs.", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        self.root = os.path.join(self.dir, "r")
        self.old = read(PATTERN), read(LIMIT)
        self.entered = True
        atexit.register(self.close)
        try:
            self._install()
        except BaseException:
            self.close()
            raise
        return self

    def _install(self):
        for d in ("etc/coresieve", "var/lib", "var/log", "run"):
            os.makedirs(os.path.join(self.root, d))
        write(os.path.join(self.root, "etc/coresieve/policy.conf"),
              self.policy.replace("{dir}", self.dir))
        # A copy, for a pattern has 127 characters and a clone may lie anywhere.
        shutil.copytree(os.path.join(BUILD, "bin"), os.path.join(self.dir, "b"))
        # The worker's user is looked up below the root: the host's own passwd stays as it is.
        uid = next(u for u in range(60999, 60000, -1) if not self.taken(u))
        write(os.path.join(self.root, "etc/passwd"),
              f"{USER}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n")
        self.enable()

    @staticmethod
    def taken(uid):
        try:
            return bool(pwd.getpwuid(uid))
        except KeyError:
            return False

    def enable(self):
        self.command("enable")
        self.ours = read(PATTERN)
        if self.wrapper:
            self._wrap()

    def _wrap(self):
        """Puts the wrapper (DIR/t) before our helper (DIR/h); links keep the pattern under 127 characters."""
        program, _, arguments = self.ours[1:].partition(" ")
        helper, wrapper = os.path.join(self.dir, "h"), os.path.join(self.dir, "t")
        for link, target in ((helper, program),
                             (wrapper, os.path.join(BUILD, "tools", self.wrapper))):
            if not os.path.lexists(link):
                os.symlink(target, link)
        pattern = f"|{wrapper} {arguments}"
        assert len(pattern) <= 127, pattern
        write(PATTERN, pattern)

    def command(self, *arguments, check=True):
        result = subprocess.run([os.path.join(self.dir, "b", "coresieve"), "--root", self.root, *arguments],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if check and result.returncode != 0:
            raise RuntimeError(f"coresieve {' '.join(arguments)}: exit {result.returncode}: "
                               f"{result.stderr or result.stdout}")
        return result

    def listed(self):
        return json.loads(self.command("list", "--json").stdout)

    def records(self, pid):
        """The whole records of every crash of `pid`."""
        path = os.path.join(self.root, "var/log/coresieve/audit.jsonl")
        try:
            with open(path) as f:
                lines = [json.loads(line) for line in f]
        except FileNotFoundError:
            return []
        return [r for r in lines if r.get("event") == "crash" and int(r["pid"]) == pid]

    def crash(self, pid, how=signal.SIGSEGV, trigger=None):
        """Kills `pid`, or lets its second thread die (`trigger`: CRASH_TRIGGER's prefix)."""
        if trigger:
            part = f"{trigger}.{pid}.part"
            write(part, "SEGV" if how == signal.SIGSEGV else "ABRT")
            os.rename(part, f"{trigger}.{pid}")
        else:
            os.kill(pid, how)
        return self.collect(pid)

    def collect(self, pid):
        raw = os.path.join(self.dir, f"raw.{pid}") if self.tee else None
        if raw:
            wait_for(f"the raw core of {pid}", lambda: os.path.exists(raw))
        records = wait_for(f"a record of {pid}", lambda: self.records(pid))
        assert len(records) == 1, f"{len(records)} records of one crash"
        record = records[0]
        clean = None
        if record["path"]:
            clean = os.path.join(self.dir, f"clean.{pid}")
            self.command("extract", record["id"], clean)
        return Crash(pid, raw, clean, record)

    def close(self):
        if not self.entered:
            return
        self.entered = False
        try:
            if hasattr(self, "ours"):
                write(PATTERN, self.ours)
            if os.path.exists(os.path.join(self.dir, "b")):
                self.command("disable", check=False)
        finally:
            write(PATTERN, self.old[0])
            write(LIMIT, self.old[1])
            shutil.rmtree(self.dir, ignore_errors=True)
            self.lock.close()

    def __exit__(self, *exc):
        self.close()
