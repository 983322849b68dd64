"""Every relative link in the Markdown files leads to a file, and to a heading, that exists."""

import re

from tree import ROOT, Report, files

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")


def without_code(text):
    text = FENCE.sub(lambda match: "\n" * match.group().count("\n"), text)
    return CODE.sub("", text)


def anchors(path):
    """The anchors that a reader's Markdown viewer makes of the headings."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
            for heading in headings}


def check(report, path):
    text = without_code((ROOT / path).read_text(encoding="utf-8"))
    for number, line in enumerate(text.splitlines(), 1):
        for link in LINK.findall(line) + IMAGE.findall(line):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (ROOT / path).parent / name if name else ROOT / path
            if not target.exists():
                report.add(path, number, f"{link}: no such file")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                report.add(path, number, f"{link}: no such heading")


def main():
    report = Report("links")
    documents = [path for path in files() if path.suffix == ".md"]
    for path in documents:
        check(report, path)
    report.finish(len(documents))


if __name__ == "__main__":
    main()
