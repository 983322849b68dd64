"""Compiles the C++ that README.md and docs/*.md show, and makes programs that run it.

A fenced block whose info string is
  `cpp`          holds declarations; it is compiled in a namespace of its own;
  `cpp body`     holds statements; they are compiled as the body of a `task<>` coroutine;
  `cpp ignore`   is not compiled (a shape to avoid, a fragment, another library).
Every document starts with <magpie/magpie.hpp>, the usual headers and `using namespace magpie`.

What a block needs but a reader does not is put into an HTML comment above it:
  <!-- snippet: declarations, compiled in the namespace of the next block -->
  <!-- document: declarations, compiled once, in front of all blocks that follow -->
  <!-- run: statements of a coroutine that uses the next block -->
  <!-- call: statements of a function that uses it outside of a runtime -->
  <!-- not run: the reason why the next block is compiled only -->

`--program PAGE OUT` writes a program of a page: it runs each block by its `run` or `call`, and each
`cpp body` as it is, in a simulation, where waiting takes no time.  `check_that(…)` aborts it.  A
block that has neither and no reason is an error there.
"""

import argparse
import pathlib
import re
import sys

from compilers import available, compile_text, on_all_cores
from tree import ROOT, files

HEADERS = """
#include <magpie/magpie.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
"""
# How a `run` says what it expects.
CHECK = """
[[noreturn]] inline void snippet_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: %s\\n", file, line, what);
  std::abort();
}
#define check_that(...) \\
  ((__VA_ARGS__) ? void() : snippet_failed(#__VA_ARGS__, __FILE__, __LINE__))
"""
# What runs the blocks of a page, each in a simulation of its own.
MAIN = """
struct snippet {
  const char* place;
  task<> (*runs)();
  void (*calls)();
};
task<> in_a_century(task<> t) { co_await timeout(std::chrono::years(100), std::move(t)); }

bool succeeds(const snippet& one) {
  std::fprintf(stderr, "%s\\n", one.place);
  if (one.calls != nullptr) {
    one.calls();
    return true;
  }
  options simulated;
  simulated.reactor = reactor_kind::sim;
  runtime on(simulated);
  const auto ended = on.block_on(in_a_century(one.runs()));
  if (!ended) std::fprintf(stderr, "%s: %s\\n", one.place, ended.error().message().c_str());
  return on.shutdown(std::chrono::hours(1)) && ended;
}

int main() {
  bool all = true;
  for (const snippet& one : snippets) all = succeeds(one) && all;
  return all ? 0 : 1;
}
"""
# GCC takes what a `#line` places in a document for a header and would complain of its linkage.
FLAGS = ["-Wno-unused", "-Wno-unused-parameter", "-Wno-undefined-internal",
         "-Wno-subobject-linkage"]
COMMENT = re.compile(r"<!-- (snippet|document|run|call|not run):(.*?)-->", re.DOTALL)
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
        self.runs = []
        self.undecided = []
        self.read((ROOT / path).read_text(encoding="utf-8"))

    def read(self, text):
        found = sorted([*COMMENT.finditer(text), *FENCE.finditer(text)], key=lambda m: m.start())
        said = {}
        for match in found:
            number = text.count("\n", 0, match.start()) + 1
            if match.re is FENCE:
                self.add_block(match.group("info").split(), number + 1, match.group("code"), said)
                said = {}
            elif match.group(1) == "not run":
                said["not run"] = match.group(2)
            else:
                declarations = self.located(number, match.group(2))
                if match.group(1) == "document":
                    self.parts.append(declarations)
                else:
                    said[match.group(1)] = said.get(match.group(1), "") + declarations

    def located(self, number, code):
        """The code with its place in the document, and its includes moved to the front."""
        kept = []
        for line in code.splitlines():
            if line.lstrip().startswith("#include"):
                self.includes.append(line.strip())
                line = ""
            kept.append(line)
        return f'#line {number} "{self.path}"\n' + "\n".join(kept) + "\n"

    def add_block(self, info, number, code, said):
        if info[:1] not in (["cpp"], ["c++"]):
            return
        if info[1:] == ["ignore"]:
            self.ignored += 1
            return
        self.blocks += 1
        code = self.located(number, code)
        if info[1:] == ["body"]:
            code = f"task<> body() {{\n{code}co_return;\n}}\n"
            if "not run" not in said:
                said.setdefault("run", "co_await body();\n")
        elif info[1:]:
            sys.exit(f"{self.path}:{number}: cpp {' '.join(info[1:])}: no such kind of block")
        name = f"snippet_{number}"
        place = f"{self.path}:{number}"
        if "run" in said:
            code += f"task<> runs() {{\n{said['run']}co_return;\n}}\n"
            self.runs.append(f'{{"{place}", &{name}::runs, nullptr}}')
        elif "call" in said:
            code += f"void calls() {{\n{said['call']}}}\n"
            self.runs.append(f'{{"{place}", nullptr, &{name}::calls}}')
        elif "not run" not in said:
            self.undecided.append(place)
        self.parts.append(f"namespace {name} {{\n{said.get('snippet', '')}{code}}}\n")

    def text(self):
        return "\n".join([HEADERS, *self.includes, CHECK, "using namespace magpie;",
                          "using namespace std::chrono_literals;", *self.parts])

    def program(self):
        """The same with a `main` that runs what can be run."""
        for place in self.undecided:
            print(f"{place}: says neither how it is run nor why it is not")
        if self.undecided or not self.runs:
            sys.exit(1)
        runs = ",\n".join(self.runs)
        parts = MAIN.split("task<> in_a_century", 1)
        return "\n".join([self.text(), '#line 1 "snippets"', parts[0],
                          f"const snippet snippets[] = {{\n{runs}}};",
                          "task<> in_a_century" + parts[1]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--include", help="the include folder of a build")
    parser.add_argument("--program", nargs=2, metavar=("PAGE", "OUT"),
                        help="write a program that runs the blocks of a page")
    parser.add_argument("--compiler", help="one compiler (default: each that is there)")
    options = parser.parse_args()
    if options.program:
        page, out = map(pathlib.Path, options.program)
        program = Document(page.resolve().relative_to(ROOT)).program()
        out.write_text(program, encoding="utf-8")
        return
    if not options.include:
        parser.error("--include is missing")
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
