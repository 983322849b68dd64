"""Tests of the tests: each planted fault turns its detector red, its correct twin stays green."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SHIM = HERE.parent / "support" / "kernel_ownership.cpp"
NO_URING = 77

# program, flags of its sanitizer, what the detector has to say
CONTROLS = [
    ("leak", ["-fsanitize=address"], "LeakSanitizer: detected memory leaks"),
    ("use_after_free", ["-fsanitize=address"], "AddressSanitizer: heap-use-after-free"),
    ("heap_overflow", ["-fsanitize=address"], "AddressSanitizer: heap-buffer-overflow"),
    ("data_race", ["-fsanitize=thread"], "ThreadSanitizer: data race"),
    ("freed_under_kernel", [], "kernel_ownership: freeing"),
]


def build(compiler, folder, output, *arguments):
    subprocess.run([compiler, "-std=c++23", "-O1", "-g", *arguments, "-o", output, "-luring"],
                   cwd=folder, check=True)


def run(folder, name, environment, *arguments):
    return subprocess.run([f"./{name}", *arguments], cwd=folder, env=environment, check=False,
                          capture_output=True, text=True, timeout=60)


def complaint(folder, name, says, environment):
    """What is wrong with a detector, or None."""
    planted = run(folder, name, environment)
    if planted.returncode == NO_URING:
        print(f"{name}: no io_uring here, not shown")
        return None
    if planted.returncode == 0:
        return "the fault went unseen"
    if says not in planted.stderr:
        return f"turned red for another reason:\n{planted.stderr}"
    correct = run(folder, name, environment, "correct")
    if correct.returncode:
        return f"the correct twin turned red:\n{correct.stderr}"
    print(f"{name}: red when planted ({says}), green when not")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="clang++-19")
    compiler = parser.parse_args().compiler
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        build(compiler, folder, "libkernel_ownership.so", "-shared", "-fPIC", str(SHIM))
        for name, flags, says in CONTROLS:
            build(compiler, folder, name, *flags, str(HERE / f"{name}.cpp"))
            environment = dict(os.environ)
            if not flags:
                environment["LD_PRELOAD"] = f"{folder}/libkernel_ownership.so"
            wrong = complaint(folder, name, says, environment)
            if wrong:
                failed += 1
                print(f"{name}: {wrong}")
    print(f"negative controls: {len(CONTROLS) - failed} as they should be, {failed} not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
