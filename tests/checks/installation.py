"""Installs the library and builds a program against it: with pkg-config, and as a subproject."""

import argparse
import os
import pathlib
import subprocess
import tempfile

from tree import ROOT

PROGRAM = """#include <magpie/magpie.hpp>
int main() {}
"""
SUBPROJECT_USER = """project('user', 'cpp', default_options: ['default_library=static'])
magpie = dependency('magpie', fallback: ['magpie', 'magpie_dep'])
executable('user', 'user.cpp', dependencies: magpie,
           cpp_args: '-std=c++23')
"""


def run(*command, **options):
    print("+", *command, flush=True)
    done = subprocess.run(command, text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\ninstallation: {command[0]} failed")
    return done.stdout


def installed(folder, compiler, environment):
    """A user with a compiler and pkg-config."""
    prefix = folder / "prefix"
    build = folder / "build"
    run("meson", "setup", str(build), str(ROOT), f"--prefix={prefix}", "--libdir=lib",
        "-Dtests=disabled", "-Dbenchmarks=disabled", "-Dexamples=disabled", env=environment)
    run("meson", "install", "-C", str(build), "--quiet", env=environment)
    environment = environment | {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "--static", "magpie", env=environment).split()
    run(compiler, "-std=c++23", "user.cpp", *flags, "-o", "user", cwd=folder)
    run("./user", cwd=folder)


def subproject(folder, environment):
    """A user who takes the sources into a Meson project."""
    (folder / "subprojects").mkdir()
    (folder / "subprojects" / "magpie").symlink_to(ROOT)
    (folder / "meson.build").write_text(SUBPROJECT_USER)
    said = run("meson", "setup", "own", "--wrap-mode=forcefallback", cwd=folder, env=environment)
    run("ninja", "-C", "own", cwd=folder)
    run("own/user", cwd=folder)
    if "tests              : NO" not in said:
        raise SystemExit(f"{said}\ninstallation: a subproject builds the tests as well")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="g++")
    compiler = parser.parse_args().compiler
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "user.cpp").write_text(PROGRAM)
        environment = os.environ | {"CXX": compiler}
        installed(folder, compiler, environment)
        subproject(folder, environment)
    print("installation: with pkg-config and as a subproject, both ok")


if __name__ == "__main__":
    main()
