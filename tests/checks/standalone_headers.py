"""Every header compiles alone, with each compiler; shows how long the slowest one takes."""

import argparse
import sys

from compilers import available, compile_text, on_all_cores
from tree import LAYERS, cpp_files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--include", required=True, help="the include folder of a build")
    include = parser.parse_args().include
    names = [f"magpie/{path}" for path in cpp_files()
             if path.suffix == ".hpp" and path.parts[0] in LAYERS]
    names.append("magpie/magpie.hpp")
    found = available()
    work = [(compiler, include, f"#include <{name}>\n") for compiler in found for name in names]
    results = on_all_cores(compile_text, work)
    failed = 0
    for (compiler, _, text), (_, said) in zip(work, results):
        if said:
            failed += 1
            print(f"{compiler}: {text.strip()} does not compile alone\n{said}")
    for compiler in found:
        seconds, text = max((result[0], job[2].strip()) for job, result in zip(work, results)
                            if job[0] == compiler and "magpie.hpp" not in job[2])
        whole = next(result[0] for job, result in zip(work, results)
                     if job[0] == compiler and "magpie/magpie.hpp" in job[2])
        print(f"{compiler}: {len(names)} headers, slowest {seconds:.2f} s ({text}), "
              f"magpie.hpp {whole:.2f} s")
    print(f"standalone_headers: {failed} findings")
    sys.exit(1 if failed or not found else 0)


if __name__ == "__main__":
    main()
