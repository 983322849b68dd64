"""Runs clang-tidy over every C++ file that Clang's build folders compile, several at once.

It reads each file without the precompiled header, so that a test that includes too little is seen.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from compilers import on_all_cores
from tree import ROOT, cpp_files

TIDY = "clang-tidy-19"


def changed_files():
    """What differs from the last commit."""
    done = subprocess.run(["git", "diff", "--name-only", "HEAD"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return {pathlib.Path(name) for name in done.stdout.splitlines()}


def run(commands, path):
    begin = time.monotonic()
    command = [TIDY, "-p", commands, "--quiet", "--warnings-as-errors=*", str(ROOT / path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout.strip() + ("\n" + done.stderr.strip() if done.returncode else "")
    print(f"  {path}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
    return path, time.monotonic() - begin, said if done.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", nargs="+", help="a build folder")
    parser.add_argument("--changed", action="store_true", help="only what the work tree changes")
    options = parser.parse_args()
    entries = {}  # by file: one that two folders compile is looked at once
    for build in options.build:
        for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()):
            file = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
            entries.setdefault(file, entry)
    wanted = [path for path in cpp_files() if (ROOT / path).resolve() in entries]
    if options.changed:
        wanted = [path for path in wanted if path in changed_files()]
    for entry in entries.values():
        entry["command"] = re.sub(r"-include-pch \S+", "", entry["command"])
    with tempfile.TemporaryDirectory() as commands:
        (pathlib.Path(commands) / "compile_commands.json").write_text(
            json.dumps(list(entries.values())))
        results = on_all_cores(run, [(commands, path) for path in wanted])
    failed = [result for result in results if result[2]]
    for _, _, said in failed:
        print(said)
    if results:
        path, seconds, _ = max(results, key=lambda result: result[1])
        print(f"clang-tidy: slowest {path}, {seconds:.1f} s")
    print(f"clang-tidy: {len(results)} files, {len(failed)} with findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
