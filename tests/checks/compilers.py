"""Compiles small texts with the compilers of this machine, for the other checks."""

import concurrent.futures
import os
import shutil
import subprocess
import time

KNOWN = ["clang++-19", "g++"]
FLAGS = ["-std=c++23", "-O2", "-fsyntax-only", "-Wall", "-Wextra",
         "-Wno-missing-field-initializers", "-Wno-unknown-warning-option",
         "-Wno-missing-designated-field-initializers", "-x", "c++", "-"]


def available():
    """The compilers of this machine that the library supports."""
    return [name for name in KNOWN if shutil.which(name)]


def compile_text(compiler, include, text, extra=()):
    """Returns (seconds, what the compiler said; empty when it was content)."""
    begin = time.monotonic()
    done = subprocess.run([compiler, f"-I{include}", "-Werror", *extra, *FLAGS],
                          input=text, capture_output=True, text=True, check=False)
    said = done.stderr if done.returncode else ""
    return time.monotonic() - begin, said


def on_all_cores(function, arguments):
    """Calls function(*argument) for each, as many at once as there are cores; in order."""
    jobs = int(os.environ.get("MAGPIE_JOBS", os.cpu_count() or 1))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(function, *argument) for argument in arguments]
        return [future.result() for future in waiting]
