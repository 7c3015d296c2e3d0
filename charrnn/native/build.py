"""How setuptools builds the compiled libraries and the wheel; pyproject.toml names these two commands.

What setuptools knows to build are modules of one Python. Ours are plain C that ctypes loads, so neither a library nor
the wheel has a Python's version in its name: one wheel serves every Python of a platform. Where nothing could be
compiled, the wheel is one for every platform. setuptools loads this file alone: it imports nothing of the package.
"""

from __future__ import annotations

import os
import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

COMPILERS = ("cc", "gcc", "clang")


class BuildLibraries(build_ext):
    """Compiles each library that is declared as an extension module; what fails is left out, as `optional` says."""

    def get_ext_filename(self, fullname: str) -> str:
        """Returns the library's path, which has the plain ending, such as `charrnn/native/_step.so`."""
        return os.path.join(*fullname.split(".")) + EXTENSION_SUFFIXES[-1]

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Returns none: there is no function by which Python would begin a module."""
        return []

    def build_extensions(self) -> None:
        """Builds with the compiler that built Python, or, where this machine has not got that one, with its own."""
        own = next(filter(shutil.which, COMPILERS), None)
        for name in ("compiler", "compiler_so", "linker_so"):
            words = getattr(self.compiler, name, None)
            if own and words and "CC" not in os.environ and shutil.which(words[0]) is None:
                words[0] = own
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Builds one library, and leaves no older one in its place: the build folder is kept from one time to the
        next."""
        target = Path(self.get_ext_fullpath(ext.name))
        for older in target.parent.glob(f"{target.stem}.*{target.suffix}"):
            older.unlink()
        try:
            super().build_extension(ext)
        except Exception as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):  # a compiler that says nothing and makes nothing
                raise CompileError(str(error)) from error
            raise


class BuildWheel(bdist_wheel):
    """Makes `py3-none-<platform>` where a library was built, and `py3-none-any` where none was."""

    def run(self) -> None:
        """Builds first: only then is known what the wheel holds, and so what it is for."""
        if not self.skip_build:
            self.run_command("build")
        build = self.get_finalized_command("build_ext")
        modules = [one for one in build.extensions if Path(build.get_ext_fullpath(one.name)).is_file()]
        self.distribution.ext_modules = modules
        self.root_is_pure = not modules
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Returns the tag without a version of Python, which setuptools gives to wheels with compiled parts."""
        return self.python_tag, "none", super().get_tag()[2]
