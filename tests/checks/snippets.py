"""Compiles the C++ that README.md and docs/*.md show.

A fenced block whose info string is
  `cpp`          holds declarations; it is compiled in a namespace of its own;
  `cpp body`     holds statements; they are compiled as the body of a `task<>` coroutine;
  `cpp ignore`   is not compiled (a shape to avoid, a fragment, another library).
Every document starts with <magpie/magpie.hpp>, the usual headers and `using namespace magpie`.

What a block needs but a reader does not is put into an HTML comment above it:
  <!-- snippet: declarations, compiled in the namespace of the next block -->
  <!-- document: declarations, compiled once, in front of all blocks that follow -->
"""

import argparse
import re
import sys

from compilers import available, compile_text, on_all_cores
from tree import ROOT, files

HEADERS = """
#include <magpie/magpie.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
"""
# GCC takes what a `#line` places in a document for a header and would complain of its linkage.
FLAGS = ["-Wno-unused", "-Wno-unused-parameter", "-Wno-undefined-internal",
         "-Wno-subobject-linkage"]
COMMENT = re.compile(r"<!-- (snippet|document):(.*?)-->", re.DOTALL)
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^ *```$",
                   re.DOTALL | re.MULTILINE)


class Document:
    """One Markdown file as one translation unit."""

    def __init__(self, path):
        self.path = path
        self.includes = []
        self.parts = []
        self.blocks = 0
        self.ignored = 0
        self.read((ROOT / path).read_text(encoding="utf-8"))

    def read(self, text):
        found = sorted([*COMMENT.finditer(text), *FENCE.finditer(text)], key=lambda m: m.start())
        hidden = ""
        for match in found:
            number = text.count("\n", 0, match.start()) + 1
            if match.re is COMMENT:
                declarations = self.located(number, match.group(2))
                if match.group(1) == "document":
                    self.parts.append(declarations)
                else:
                    hidden += declarations
                continue
            self.add_block(match.group("info").split(), number + 1, match.group("code"), hidden)
            hidden = ""

    def located(self, number, code):
        """The code with its place in the document, and its includes moved to the front."""
        kept = []
        for line in code.splitlines():
            if line.lstrip().startswith("#include"):
                self.includes.append(line.strip())
                line = ""
            kept.append(line)
        return f'#line {number} "{self.path}"\n' + "\n".join(kept) + "\n"

    def add_block(self, info, number, code, hidden):
        if info[:1] not in (["cpp"], ["c++"]):
            return
        if info[1:] == ["ignore"]:
            self.ignored += 1
            return
        self.blocks += 1
        code = self.located(number, code)
        if info[1:] == ["body"]:
            code = f"task<> body() {{\n{code}co_return;\n}}\n"
        elif info[1:]:
            sys.exit(f"{self.path}:{number}: cpp {' '.join(info[1:])}: no such kind of block")
        self.parts.append(f"namespace snippet_{number} {{\n{hidden}{code}}}\n")

    def text(self):
        return "\n".join([HEADERS, *self.includes, "using namespace magpie;",
                          "using namespace std::chrono_literals;", *self.parts])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--include", required=True, help="the include folder of a build")
    parser.add_argument("--compiler", help="one compiler (default: each that is there)")
    options = parser.parse_args()
    documents = [Document(path) for path in files() if path.suffix == ".md"
                 and (len(path.parts) == 1 or path.parts[0] == "docs")]
    compilers = [options.compiler] if options.compiler else available()
    work = [(compiler, options.include, document.text(), FLAGS)
            for compiler in compilers for document in documents if document.blocks]
    failed = 0
    for (compiler, *_), (_, said) in zip(work, on_all_cores(compile_text, work)):
        if said:
            failed += 1
            print(f"{compiler}:\n{said}")
    blocks = sum(document.blocks for document in documents)
    ignored = sum(document.ignored for document in documents)
    print(f"snippets: {blocks} blocks of {len(documents)} documents compiled by "
          f"{', '.join(compilers)}, {ignored} ignored, {failed} findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
