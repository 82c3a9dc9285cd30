"""place: one enabled installation with one key, whose helper can be meddled with.

    with Sieve(POLICY, wrapper=None) as sieve:
        record, dumps = Place(sieve).crash()

Whatever is done to it, after each crash the place must be tidy: the store holds whole dumps that
the log names and nothing else, no process of ours is left, and nothing is still reserved.
"""

import errno
import fcntl
import functools
import json
import os
import re
import struct
import subprocess
import signal
import time
import traceback

import leakcheck
from crash import BUILD, read, wait_for, write
from targets import certificate

VICTIM = os.path.join(BUILD, "tools", "victim")
SOAK = os.environ.get("CORESIEVE_MODE") == "soak"
POLICY = "[Default]\nKeepFree=0\n[Secret test]\nFile={dir}/keys/*.key\n"
DUMP = re.compile(r"[0-9a-f]{8}-[0-9]+-[0-9a-f]{16}\.core\.zst")


class Wrong(Exception):
    pass


def run(name, function, *arguments):
    try:
        function(*arguments)
        print(f"ok {name}", flush=True)
        return True
    except Exception as error:  # pylint: disable=broad-except
        print(f"not ok {name}")
        text = str(error) if isinstance(error, Wrong) else traceback.format_exc()
        print("\n".join("#   " + line for line in text.splitlines()), flush=True)
        return False


def json_lines(path):
    try:
        with open(path, errors="replace") as f:
            return [line for line in f if line.endswith("\n")]
    except FileNotFoundError:
        return []


@functools.lru_cache(maxsize=1)
def needles_of(key, _inode):
    needles = leakcheck.Needles()
    loaded = leakcheck.load_key(key)
    needles.add(leakcheck.key_forms(loaded), leakcheck.public_needles(loaded))
    return needles


class Place:
    """What can be done to the installation, and what must hold afterwards."""

    def __init__(self, sieve):
        self.sieve, self.root = sieve, sieve.root
        keys = os.path.join(sieve.dir, "keys")
        os.makedirs(keys, exist_ok=True)
        self.key, _ = certificate(keys, "test", "ec")
        self.store = os.path.join(self.root, "var/lib/coresieve/dumps")
        self.log_dir = os.path.join(self.root, "var/log/coresieve")
        self.run = os.path.join(self.root, "run/coresieve")
        self.policy = os.path.join(self.root, "etc/coresieve/policy.conf")

    def victim(self, *how):
        process = subprocess.Popen(["/bin/sh", "-c", "ulimit -c unlimited; exec \"$@\"", "sh",
                                    VICTIM, self.key, *how], stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    def records(self, pid):
        """Of this crash. A record that waits may stand in the log already (log.h "recover"): it
        is taken in by its id, and is one."""
        here = f'"pid":{pid},'
        parsed = {name: [json.loads(line) for line in json_lines(path) if here in line]
                  for name, path in (("log", os.path.join(self.log_dir, "audit.jsonl")),
                                     ("taking", os.path.join(self.run, "taking.jsonl")),
                                     ("pending", os.path.join(self.run, "pending.jsonl")))}
        found = parsed["log"]
        for name in ("taking", "pending"):
            known = {r["id"] for r in found}
            found = found + [r for r in parsed[name] if r["id"] not in known]
        return [r for r in found if r.get("event") == "crash" and int(r["pid"]) == pid]

    def dumps(self):
        try:
            return set(os.listdir(self.store))
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def at_work(self):
        """Processes that were started for a crash of this installation: the kernel gave them
        R=ROOT. A worker has no arguments and does not outlive its helper."""
        mark, found = f"\0R={self.root}\0".encode(), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if mark in f.read():
                        found.append(pid)
            except OSError:
                continue                        # it ended just now
        return found

    def crash(self, *how, sig=signal.SIGSEGV, seconds=60):
        """The one record of a crashed victim, and the dumps it left."""
        before = self.dumps()
        process = self.victim(*how)
        os.kill(process.pid, sig)
        process.wait()
        return self.outcome(process.pid, before, seconds)

    def outcome(self, pid, before, seconds=60):
        # The kernel let `pid` go when its helper had started: with the last of ours at work, all
        # that could be written is written.
        wait_for(f"the end of the helper of {pid}", lambda: not self.at_work(), seconds)
        found = self.records(pid)
        if len(found) != 1:
            raise Wrong(f"{len(found)} records of one crash")
        return found[0], self.dumps() - before

    def expect_none(self, cause, *how, **more):
        record, dumps = self.crash(*how, **more)
        if dumps or record["path"]:
            raise Wrong(f"a dump was kept: {dumps or record['path']}")
        if cause not in record["verdict"]["causes"]:
            raise Wrong(f"causes are {record['verdict']['causes']}, not {cause}: {record}")
        return record

    def expect_kept(self, *how, **more):
        record, dumps = self.crash(*how, **more)
        if not record["path"] or not dumps:
            raise Wrong(f"no dump was kept: {record}")
        self.check_clean(record)
        return record

    def check_clean(self, record):
        """The dump is whole and holds no form of the key; it is removed then."""
        result = leakcheck.check(record["path"],
                                 needles_of(self.key, os.stat(self.key).st_ino))
        if result["leak"]:
            raise Wrong(f"the key is in the dump: {result['forms']}")
        if result["searched"] != int(record["core_size"]):
            raise Wrong(f"{result['searched']} bytes of {record['core_size']} are in the dump")
        os.unlink(record["path"])

    def check_tidy(self, record):
        """Nothing strayed after the crash of `record`, the only one at this time."""
        named = {os.path.basename(record["path"])} if record["path"] else set()
        if self.dumps() != named or not all(map(DUMP.fullmatch, named)):
            raise Wrong(f"the store holds {self.dumps()}, the record names {named}")
        for name in os.listdir(self.run):
            if name.endswith((".part", ".tmp")):
                raise Wrong(f"{name} was left in {self.run}")
        if locks := [name for name in os.listdir(self.run) if self.is_held(name)]:
            raise Wrong(f"still held: {locks}")

    def is_held(self, name):
        """Has anybody a lock on this file of the run directory?"""
        with open(os.path.join(self.run, name), "r+b") as f:
            whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(f, fcntl.F_OFD_GETLK, whole)
            if struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK:
                return True
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
                return True
        return False


class Meddler:
    """A place whose helper runs under the tracer of tests/tools/meddle.c."""

    def __init__(self, place):
        self.place, self.dir = place, place.sieve.dir
        self.log = os.path.join(self.dir, "meddle.log")
        self.mains = "".join(f"main {role} {self.main_of(program)}\n" for role, program in
                             (("helper", "coresieve-helper"), ("worker", "coresieve-worker")))

    @staticmethod
    def main_of(program):
        out = subprocess.run(["nm", os.path.join(BUILD, "bin", program)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        return next(line.split()[0] for line in out.splitlines() if line.endswith(" T main"))

    def prepare(self, what):
        if os.path.exists(self.log):
            os.unlink(self.log)
        write(os.path.join(self.dir, "meddle.conf"), self.mains + (f"do {what}\n" if what else ""))

    def crash(self, what, *how):
        """One crash with one thing spoilt: the record, new dumps, and the tracer's log. The
        tracer ends when all processes that it saw have ended, however they came to be."""
        self.prepare(what)
        record, dumps = self.place.crash(*how, seconds=90)
        log = read(self.log)
        if not log.endswith("\ndone") or "error " in log:
            raise Wrong(f"the tracer: {log}")
        if "count helper 0\n" in log:
            raise Wrong("nothing was counted: is it still the helper that nm saw?")
        return record, dumps, log

    def counts(self):
        record, dumps, log = self.crash(None)
        if not dumps:
            raise Wrong("no dump without meddling: " + log)
        self.place.check_clean(record)
        return {line.split()[1]: int(line.split()[2]) for line in log.splitlines()
                if line.startswith("count ")}

    def fail(self, role, n, code):
        """The record when the `n`th system call of `role` fails with `code`, which must cost
        neither record nor cleanness."""
        record, dumps, log = self.crash(f"{role} {n} error {code}")
        if f"did {role} {n} " not in log and int(log.split(f"count {role} ")[1].split()[0]) >= n:
            raise Wrong(f"call {n} of {role} was not spoilt: {log}")
        self.place.check_tidy(record)
        if dumps:
            self.place.check_clean(record)
        return record
