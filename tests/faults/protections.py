#!/usr/bin/python3
"""protections: each protection is taken out in turn, and some test must notice.

A copy of the tree (its build directory too, so that little is built again) gets one change of
LIST, is built, and runs the named tests. Exit status 0 of those tests is the failure: nothing
guards that protection. TAP on stdout; `check` tries every third, `soak` all.

    protections.py [NAME…]
"""

import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from list import LIST  # noqa: E402

STEP = 1 if os.environ.get("CORESIEVE_MODE") == "soak" else 3
LIMIT_SEC = 600


def sh(command, cwd):
    return subprocess.run(["/bin/bash", "-c", command], cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=LIMIT_SEC)


def tap(good, name, text=""):
    print(("ok " if good else "not ok ") + name)
    for line in text.splitlines()[-25:]:
        print("#   " + line)
    sys.stdout.flush()
    return good


def attempt(tree, name, path, old, new, targets, command):
    source = os.path.join(tree, path)
    with open(source) as f:
        text = f.read()
    if text.count(old) != 1:
        return tap(False, name, f"{path}: the protection is not where the list says: {old!r}")
    with open(source, "w") as f:
        f.write(text.replace(old, new))
    try:
        built = sh(f"make -j2 {targets}", tree)
        if built.returncode != 0:
            return tap(False, name, "does not build without it:\n" + built.stdout)
        return tap(sh(command, tree).returncode != 0, name)
    except subprocess.TimeoutExpired as error:
        return tap(False, name, str(error))
    finally:
        with open(source, "w") as f:
            f.write(text)


def main():
    chosen = [p for p in LIST if p[0] in sys.argv[1:]] if sys.argv[1:] else LIST[::STEP]
    good = True
    tree = tempfile.mkdtemp(prefix="cs-faults.", dir="/var/tmp")
    try:
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=TOP,
                               check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["cpio", "-0pdm", "--quiet", tree], cwd=TOP, input=files, check=True)
        shutil.copytree(os.path.join(TOP, "build"), os.path.join(tree, "build"), symlinks=True,
                        ignore=shutil.ignore_patterns("clang", "peers", "log"))
        for protection in chosen:
            good = attempt(tree, *protection) and good
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
