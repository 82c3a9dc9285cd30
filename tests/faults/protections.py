#!/usr/bin/python3
"""protections: each protection is taken out in turn, and some test must notice.

A copy of the tree (its build directory too, so that little is built again) gets one change of
LIST, is built, and runs the named command. Exit status 0 of it is the failure: nothing guards
that protection. Before, each command is run in the unchanged copy, where it must succeed. TAP on
stdout; `check` tries every STEPth, `soak` all.

    protections.py [NAME…]
"""

import os
import secrets
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from list import LIST  # noqa: E402

STEP = 1 if os.environ.get("CORESIEVE_MODE") == "soak" else 3
LIMIT_SEC = 600
# Where only root may write, or `enable` refuses; and short, for core_pattern has 127 characters.
PLACE, NAME_BYTES = "/var/lib", 2
NOT_COPIED = "clang", "peers", "log", "fuzz", "fuzzobj", "hand", "fuzz-findings"


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


def replace(path, old, new):
    """Seen by make: the change is never in the same moment as the last build."""
    with open(path) as f:
        text = f.read()
    if text.count(old) != 1:
        raise ValueError(f"{old!r} is {text.count(old)} times in {path}")
    with open(path, "w") as f:
        f.write(text.replace(old, new))
    return text


def attempt(tree, protection):
    name, path, old, new, targets, command = protection
    source = os.path.join(tree, path)
    try:
        text = replace(source, old, new)
    except ValueError as error:
        return tap(False, name, str(error))
    try:
        built = sh(f"make -j2 {targets}", tree)
        if built.returncode != 0:
            return tap(False, name, "does not build without it:\n" + built.stdout)
        tried = sh(command, tree)
        return tap(tried.returncode != 0, name,
                   "" if tried.returncode else f"nobody noticed:\n{command}\n{tried.stdout}")
    except subprocess.TimeoutExpired as error:
        return tap(False, name, str(error))
    finally:
        with open(source, "w") as f:
            f.write(text)


def unchanged(tree, chosen):
    """The commands that do not succeed although nothing was taken out."""
    targets = " ".join(sorted({t for p in chosen for t in p[4].split()}))
    built = sh(f"make -j2 {targets}", tree)
    if built.returncode != 0:
        raise RuntimeError(f"the unchanged copy does not build:\n{built.stdout}")
    failed = {}
    for command in dict.fromkeys(p[5] for p in chosen):
        run = sh(command, tree)
        if run.returncode != 0:
            failed[command] = run.stdout
    return failed


def copy(tree):
    names = subprocess.run(["git", "-c", f"safe.directory={TOP}", "ls-files", "-co",
                            "--exclude-standard", "-z"],
                           cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        source, target = os.path.join(TOP, name), os.path.join(tree, name)
        if not os.path.lexists(source):
            continue                            # removed and not yet committed
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    if os.path.isdir(os.path.join(TOP, "build")):
        shutil.copytree(os.path.join(TOP, "build"), os.path.join(tree, "build"), symlinks=True,
                        ignore=shutil.ignore_patterns(*NOT_COPIED))


def tree_new():
    for _ in range(100):
        path = os.path.join(PLACE, "f." + secrets.token_hex(NAME_BYTES))
        try:
            os.mkdir(path, 0o755)
            return path
        except FileExistsError:
            continue
    raise FileExistsError(PLACE)


def why_no_crash():
    """What run-e2e says when nothing can crash here, else empty."""
    said = sh("scripts/run-e2e /nonexistent/none.py", TOP).stdout
    return said.partition("# SKIP ")[2].strip()


def main():
    chosen = [p for p in LIST if p[0] in sys.argv[1:]] if sys.argv[1:] else LIST[::STEP]
    skip, good, tree = why_no_crash(), True, tree_new()
    try:
        if skip:
            for name, *_ in (p for p in chosen if "tests/e2e/" in p[5]):
                print(f"ok {name} # SKIP {skip}")
            chosen = [p for p in chosen if "tests/e2e/" not in p[5]]
        copy(tree)
        failed = unchanged(tree, chosen)
        for p in chosen:
            if p[5] in failed:
                good = tap(False, p[0], f"fails with it, too:\n{p[5]}\n{failed[p[5]]}")
            else:
                good = attempt(tree, p) and good
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
