"""The files of this repository, for the other checks. As a program: `tree.py cpp` lists C++."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = ["util", "runtime", "sync", "io", "net", "fs"]
CPP = {".cpp", ".hpp"}


def files():
    """Every file that is tracked or could be, relative to the root."""
    if (ROOT / ".git").exists():
        try:
            listing = subprocess.run(
                ["git", "-c", "safe.directory=*", "ls-files", "-zco", "--exclude-standard"],
                cwd=ROOT, capture_output=True, text=True, check=False)
            if listing.returncode == 0:
                names = map(pathlib.Path, listing.stdout.split("\0")[:-1])
                return sorted(name for name in names if (ROOT / name).is_file())
        except OSError:
            pass  # no git here: what lies in the folder
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in found
                  if path.parts[0] not in {"build", ".git"} and "__pycache__" not in path.parts)


def cpp_files():
    return [path for path in files() if path.suffix in CPP]


def lines(path):
    """The lines of a file, numbered from one."""
    return enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)


def is_private(header):
    """Whether a header is left out of <magpie/magpie.hpp>."""
    return header.name.startswith("uring_") or header.name in listed(header.parts[0], "private")


def listed(folder, kind="any"):
    """The file names in a folder's meson.build; `private`: those of its private headers alone."""
    names, wanted = set(), kind == "any"
    build = ROOT / folder / "meson.build"
    if not build.exists():
        return names
    for line in build.read_text(encoding="utf-8").splitlines():
        if "files(" in line and kind == "private":
            wanted = line.startswith("magpie_private_headers")
        if wanted:
            names.update(word for word in line.split("'")[1::2] if word.endswith((".hpp", ".cpp")))
    return names


class Report:
    """Collects findings as file:line messages and turns them into an exit status."""

    def __init__(self, name):
        self.name = name
        self.count = 0

    def add(self, path, number, message):
        self.count += 1
        print(f"{path}:{number}: {message}")

    def finish(self, looked_at):
        print(f"{self.name}: {looked_at} files, {self.count} findings")
        sys.exit(1 if self.count else 0)


if __name__ == "__main__":
    if sys.argv[1:] != ["cpp"]:
        sys.exit("usage: tree.py cpp")
    print("\n".join(map(str, cpp_files())))
