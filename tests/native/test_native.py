"""How a compiled library is found: whichever Python it was built for, and never one that is damaged or outdated."""

from __future__ import annotations

import ctypes
import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from charrnn.native import step as library
from charrnn.native.loader import candidates, load

BUILT = candidates(Path(library.__file__).with_name("_step"))
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


def test_this_pythons_library_comes_first(tmp_path: Path) -> None:
    """Then the others by name; files of another stem or ending are none of ours."""
    own = [f"_step{suffix}" for suffix in EXTENSION_SUFFIXES]
    others = ["_step.cpython-301-x.so", "_step.cpython-302-x.so"]
    for name in [*others, *own, "_step2.so", "_steps.cpython-301-x.so", "_step.c", "_step.so.old", "step.so"]:
        (tmp_path / name).touch()
    assert [path.name for path in candidates(tmp_path / "_step")] == [*own, *others]
    assert candidates(tmp_path / "_recurrence") == []


def test_the_switch_turns_every_library_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CHARRNN_COMPILED=0 counts before any file does."""
    for path in BUILT[:1]:
        shutil.copy(path, tmp_path / FOREIGN)
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert _load(tmp_path) is None
