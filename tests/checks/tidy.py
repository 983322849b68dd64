"""Runs clang-tidy over every C++ file that Clang's build folders compile, several at once.

It reads them without the precompiled header.  Tests that are compiled as one file (Meson's unity)
are read as one: most of the time goes into what they all include.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from compilers import on_all_cores
from tree import ROOT, cpp_files

TIDY = "clang-tidy-19"
# A group of tests includes their files, each from where it lies.
INCLUDED = re.compile(r"^#include ?[<\"](/.*)[>\"]$", re.MULTILINE)
HEADERS = r".*/magpie/(util|runtime|sync|io|net|fs|tests|bench|docs)/.*|.*/tests/.*_test\.cpp"


def changed_files():
    """What differs from the last commit."""
    done = subprocess.run(["git", "diff", "--name-only", "HEAD"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return {pathlib.Path(name) for name in done.stdout.splitlines()}


def run(commands, path):
    begin = time.monotonic()
    command = [TIDY, "-p", commands, "--quiet", "--warnings-as-errors=*",
               f"--header-filter={HEADERS}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout.strip() + ("\n" + done.stderr.strip() if done.returncode else "")
    print(f"  {path.name}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
    return path, time.monotonic() - begin, said if done.returncode else ""


def group_of(entry, folder):
    """What a group includes, and its entry for a copy of it that has the tests' configuration."""
    group = pathlib.Path(entry["directory"]) / entry["file"]
    copy = folder / "tests" / group.name
    if not copy.exists():
        shutil.copy(group, copy)
    command = entry["command"].replace(f" -c {entry['file']}", f" -c {copy}")
    files = {pathlib.Path(name).resolve() for name in INCLUDED.findall(group.read_text())}
    return files, {**entry, "file": str(copy), "command": command}


def compiled(builds, folder):
    """By the file to read: the files of ours that it stands for, and its entry."""
    found = {}
    for build in builds:
        for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()):
            entry["command"] = re.sub(r"-include-pch \S+", "", entry["command"])
            if "-unity" in entry["file"]:
                files, entry = group_of(entry, folder)
            else:
                files = {(pathlib.Path(entry["directory"]) / entry["file"]).resolve()}
            file = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
            found.setdefault(file, (files, entry))  # one that two folders compile is read once
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", nargs="+", help="a build folder")
    parser.add_argument("--changed", action="store_true", help="only what the work tree changes")
    options = parser.parse_args()
    ours = changed_files() if options.changed else cpp_files()
    ours = {(ROOT / path).resolve() for path in ours}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        (folder / "tests").mkdir()
        for config in (".clang-tidy", "tests/.clang-tidy"):
            shutil.copy(ROOT / config, folder / config)
        found = compiled(options.build, folder)
        wanted = [file for file, (files, _) in found.items() if files & ours]
        (folder / "compile_commands.json").write_text(
            json.dumps([entry for _, entry in found.values()]))
        results = on_all_cores(run, [(str(folder), file) for file in wanted])
        read = sum(len(found[file][0] & ours) for file in wanted)
    failed = [result for result in results if result[2]]
    for _, _, said in failed:
        print(said)
    if results:
        path, seconds, _ = max(results, key=lambda result: result[1])
        print(f"clang-tidy: slowest {path.name}, {seconds:.1f} s")
    print(f"clang-tidy: {read} files, read as {len(results)}, {len(failed)} with findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
