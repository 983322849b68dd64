"""Lengths of files, functions and lines; words and characters that do not belong in the tree."""

import re

from tree import CPP, Report, files, lines

FILE_LINES = 400
FUNCTION_LINES = 70
COLUMNS = 100

CODE = CPP | {".py", ".sh", ".in", ".build", ".txt"}
SCRIPTS = {"dev", ".ci/run"}
NOT_OURS = {"LICENSE"}

# Taken apart so that this file does not contain what it looks for.
BANNED = {
    "a note to oneself belongs in an issue": ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"],
    "says nothing": ["ju" "st", "simp" "ly", "obvi" "ously"],
    "is a name for want of a name": ["f" "oo", "b" "ar", "b" "az", "q" "ux", "dum" "my"],
}
WORDS = {word: why for why, words in BANNED.items() for word in words}
BANNED_WORD = re.compile(r"\b(" + "|".join(WORDS) + r")\b", re.IGNORECASE)
MACHINE_PATH = re.compile(r"(?<![\w./}-])/(?:wo" r"rk|ro" r"ot|ho" r"me)(?:/|\b)")
REGISTRY_HOST = re.compile(r"\b(?:py" r"pi|cra" r"tes|np" r"mjs|deb" r"ian)\.(?:org|io|com)\b")
FENCE = re.compile(r"\batomic_thread_" r"fence\b")
# GCC sees the macro's own `else` next to an `if` without braces (-Wdangling-else).
BARE_EXPECTATION = re.compile(
    r"\b(?:if (?:constexpr )?\([^;{}]*\)|else)\s+(?:EXPECT|ASSERT)_\w+\(")
SHARED_NAMESPACE = re.compile(r"^namespace magpie::tests \{", re.MULTILINE)

BLOCK_OPENER = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")
CONTROL = re.compile(r"^\s*(?:\}\s*)?(?:if|for|while|switch|do|else|try|catch)\b")


PREPROCESSOR = re.compile(r"^[ ]*#(?:[^\n]*\\\n)*[^\n]*$", re.MULTILINE)


def blank(match):
    """A space, and as many ends of lines as there were."""
    return "\n" * match.group().count("\n") + " "


def strip_code(text):
    """C++ text without comments and literals, line numbers unchanged."""
    pattern = re.compile(
        r'R"(?P<mark>[^(]*)\(.*?\)(?P=mark)"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
        r"|(?<![\w'])'(?:\\.|[^'\\\n])+'", re.DOTALL)
    return pattern.sub(blank, text)


def functions(text):
    """Yields (first line, last line) of each function body that is not inside another one."""
    number, stack, head = 1, [], ""
    for character in PREPROCESSOR.sub(blank, strip_code(text)):
        if character == "\n":
            number += 1
        if character == "{":
            inside = any(is_function for is_function, _ in stack)
            opens = "(" in head and not BLOCK_OPENER.search(head.split("(")[0])
            is_function = opens and not inside and not CONTROL.match(head)
            stack.append((is_function, number))
            head = ""
        elif character == "}":
            if stack:
                is_function, begin = stack.pop()
                if is_function:
                    yield begin, number
            head = ""
        elif character == ";":
            head = ""
        else:
            head += character


def check_line(report, path, number, line):
    if "\t" in line:
        report.add(path, number, "a tab")
    if line != line.rstrip():
        report.add(path, number, "white space at the end of the line")
    for word in BANNED_WORD.findall(line):
        why = next(reason for bad, reason in WORDS.items() if bad.lower() == word.lower())
        report.add(path, number, f"'{word}' {why}")
    if MACHINE_PATH.search(line):
        report.add(path, number, "a path of somebody's machine")
    if REGISTRY_HOST.search(line):
        report.add(path, number, "the host of a package registry")


def check_code(report, path, text):
    count = text.count("\n")
    if count > FILE_LINES:
        report.add(path, count, f"{count} lines, {FILE_LINES} is the limit")
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            report.add(path, number, f"{len(line)} columns, {COLUMNS} is the limit")
    if path.suffix not in CPP:
        return
    for begin, end in functions(text):
        if end - begin + 1 > FUNCTION_LINES:
            report.add(path, begin, f"a function of {end - begin + 1} lines, "
                                    f"{FUNCTION_LINES} is the limit")
    code = strip_code(text)
    for number, line in enumerate(code.splitlines(), 1):
        if FENCE.search(line):
            report.add(path, number, "no standalone fences: give an atomic operation the order")
    for found in BARE_EXPECTATION.finditer(code):
        number = code.count("\n", 0, found.start()) + 1
        report.add(path, number, "an expectation below an if needs braces")
    shared = SHARED_NAMESPACE.search(code) if path.name.endswith("_test.cpp") else None
    if shared:
        report.add(path, code.count("\n", 0, shared.start()) + 1,
                   f"several tests are compiled as one: magpie::tests::{path.stem} is this one's")


def main():
    report = Report("style")
    looked_at = 0
    for path in files():
        if str(path) in NOT_OURS:
            continue
        looked_at += 1
        numbered = list(lines(path))
        for number, line in numbered:
            check_line(report, path, number, line)
        if path.suffix in CODE or str(path) in SCRIPTS:
            check_code(report, path, "".join(line + "\n" for _, line in numbered))
    report.finish(looked_at)


if __name__ == "__main__":
    main()
