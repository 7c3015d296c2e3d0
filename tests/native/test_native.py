"""How a compiled library is found: whichever Python it was built with, and never one that is damaged or outdated."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from charrnn.native import step as library
from charrnn.native.loader import absence, candidates, load, search

BUILT = candidates(library.STEM)
FOREIGN = "_step.cpython-399-somewhere.so"

needs_library = pytest.mark.skipif(not BUILT, reason="no compiled library was built")


def _load(folder: Path, version: int = library.VERSION) -> ctypes.CDLL | None:
    return load(folder / "_step", "charrnn_version", version)


@pytest.mark.parametrize("name", [*(f"_step{suffix}" for suffix in EXTENSION_SUFFIXES), FOREIGN])
@needs_library
def test_a_library_is_found_whichever_python_built_it(tmp_path: Path, name: str) -> None:
    """Under a suffix of this Python and of another one; the version decides in each case."""
    shutil.copy(BUILT[0], tmp_path / name)
    found = _load(tmp_path)
    assert found is not None
    assert Path(found._name) == tmp_path / name
    assert found.charrnn_version() == library.VERSION
    assert _load(tmp_path, library.VERSION + 1) is None


@needs_library
def test_what_does_not_load_is_passed_over(tmp_path: Path) -> None:
    """An empty file, text, a folder, and the beginning of a library, under suffixes of this Python and before the good
    one in the order of names."""
    head = BUILT[0].read_bytes()[:40]
    for suffix, content in zip([*EXTENSION_SUFFIXES, ".a.so", ".b.so"], [b"", b"no library", head] * 2, strict=False):
        (tmp_path / f"_step{suffix}").write_bytes(content)
    (tmp_path / "_step.aa.so").mkdir()
    assert _load(tmp_path) is None
    shutil.copy(BUILT[0], tmp_path / FOREIGN)
    found = _load(tmp_path)
    assert found is not None
    assert Path(found._name) == tmp_path / FOREIGN


def test_the_library_without_a_python_in_its_name_comes_first(tmp_path: Path) -> None:
    """Then the others by name; files of another stem or ending are none of ours."""
    ending = EXTENSION_SUFFIXES[-1]
    others = [f"_step.cpython-301-x{ending}", f"_step.cpython-302-x{ending}"]
    for name in [
        *others,
        f"_step{ending}",
        f"_step2{ending}",
        f"_steps.a{ending}",
        "_step.c",
        "_step.so.old",
        "step.so",
    ]:
        (tmp_path / name).touch()
    assert [path.name for path in candidates(tmp_path / "_step")] == [f"_step{ending}", *others]
    assert candidates(tmp_path / "_recurrence") == []


@pytest.mark.skipif(sys.platform != "linux", reason="the format is that of Linux")
@pytest.mark.parametrize("damage", ["page", "quarter", "end", "byte", "zeros", "machine"])
@needs_library
def test_a_damaged_library_ends_no_process(tmp_path: Path, damage: str) -> None:
    """Cut short, its end never written, or of another processor: it is passed over. Linux would map the first three,
    and end the process with SIGBUS."""
    content = bytearray(BUILT[0].read_bytes())
    if damage == "zeros":
        content[-6000:] = bytes(6000)
    elif damage == "machine":
        content[18:20] = (243).to_bytes(2, "little")  # RISC-V
    else:
        del content[{"page": 4096, "quarter": len(content) // 4, "end": -64, "byte": -1}[damage] :]
    (tmp_path / f"_step{EXTENSION_SUFFIXES[-1]}").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from charrnn.native.loader import absence, search\n"
        "print(*absence(search(Path(sys.argv[1]), 'charrnn_version', int(sys.argv[2]))), sep='; ')"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "_step"), str(library.VERSION)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done
    assert done.stdout == "_step.so is damaged, or was built for another machine; install charrnn again\n"


@needs_library
def test_why_a_library_is_absent_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not built, built from other sources; and nothing is said where it is there or turned off."""

    def why(version: int) -> tuple[str, str] | None:
        return absence(search(tmp_path / "_step", "charrnn_version", version))

    assert why(1) == ("charrnn was installed without its compiled code", "install gcc or clang, then charrnn again")
    shutil.copy(BUILT[0], tmp_path / FOREIGN)
    assert why(-1) == (f"{FOREIGN} was built by another version of charrnn", "install charrnn again")
    assert why(library.VERSION) is None
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert why(-1) is None


def test_the_switch_turns_every_library_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CHARRNN_COMPILED=0 counts before any file does."""
    for path in BUILT[:1]:
        shutil.copy(path, tmp_path / FOREIGN)
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert _load(tmp_path) is None
