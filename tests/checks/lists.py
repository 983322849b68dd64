"""Adds the C++ files that no meson.build lists to the list of their folder, in order."""

import re

from tree import LAYERS, ROOT, cpp_files, listed


def list_of(path):
    """The Meson variable that a file belongs to."""
    if path.parts[0] in LAYERS:
        return "magpie_headers" if path.suffix == ".hpp" else "magpie_sources"
    if path.parts[1] == "model":
        return "model_checks"
    return f"{path.parts[1]}_tests"


def add(path):
    build = ROOT / path.parent / "meson.build"
    text = build.read_text(encoding="utf-8")
    name = list_of(path)
    found = re.search(rf"^{name} \+?= files\(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL)
    if not found:
        print(f"{path}: {path.parent}/meson.build has no {name}")
        return
    entries = {*found.group(1).splitlines(keepends=True), f"  '{path.name}',\n"}
    begin, end = found.span(1)
    build.write_text(text[:begin] + "".join(sorted(entries)) + text[end:], encoding="utf-8")
    print(f"{path}: added to {path.parent}/meson.build")


def main():
    for path in cpp_files():
        in_library = path.parts[0] in LAYERS and len(path.parts) == 2
        in_tests = len(path.parts) == 3 and path.parts[0] == "tests" and path.suffix == ".cpp"
        if in_tests and path.parts[1] not in {*LAYERS, "model"}:
            continue
        if (in_library or in_tests) and path.name not in listed(str(path.parent)):
            add(path)


if __name__ == "__main__":
    main()
