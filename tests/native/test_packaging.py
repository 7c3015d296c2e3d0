"""What is installed: one wheel for every Python, with the compiled libraries where there is a compiler, and without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.uncompiled import is_measured_machine, missed_in_sampling
from charrnn.native import step, window
from charrnn.native.loader import candidates, search
from charrnn.network.threads import is_looped
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.estimates import training_memory
from tests.kit.command import Command, Result
from tests.kit.text import make_text
from tests.kit.tiny import tiny

ROOT = Path(__file__).parents[2]
LIBRARIES = {"charrnn/native/_recurrence.so", "charrnn/native/_step.so"}
DATA = {"charrnn/py.typed", "charrnn/text/catalogue.json"} | {
    f"charrnn/{folder}/{file.name}"
    for folder in ("guide", "display/page")
    for file in (ROOT / "charrnn" / folder).iterdir()
}

BUILT = window.STEM

needs_libraries = pytest.mark.skipif(not candidates(BUILT), reason="no compiled library was built")
can_build = pytest.mark.skipif(
    not find_spec("setuptools") or int(version("setuptools").split(".")[0]) < 77,
    reason="building needs setuptools 77",
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """What of a checkout is needed to build, without anything built."""
    tree = tmp_path / "sources"
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(ROOT / "charrnn", tree / "charrnn", ignore=built)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


def _program(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)
    return str(path)


def _build(what: str, tree: Path, compiler: str) -> Path:
    """Builds a wheel or an sdist as every installer asks for it."""
    code = f"from setuptools import build_meta; print(build_meta.build_{what}('dist'))"
    environment = {**os.environ, "CC": compiler}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return tree / "dist" / done.stdout.splitlines()[-1]


def _is_missed() -> bool:
    """Whether compiled kernels would serve in training here: with GNU's OpenMP, on the kind of machine measured."""
    import torch  # noqa: F401

    return is_measured_machine()


def _names(wheel: Path) -> set[str]:
    """The files of a wheel but for Python's own."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith(".py") and ".dist-info/" not in name}


def _run(installed: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command of an unpacked wheel."""
    (folder := installed.parent / "work").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed), **environment}
    run = [sys.executable, "-m", "charrnn", *arguments]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)


@can_build
@pytest.mark.slow
@pytest.mark.parametrize("how", ["there is none", "it fails", "it makes nothing"])
def test_without_a_compiler_the_wheel_is_for_every_machine(sources: Path, how: str) -> None:
    """It holds the program and its data, and nothing that an earlier build has left behind."""
    compiler = "/nonexistent/cc"
    if how != "there is none":
        compiler = _program(sources.parent / "cc", "exit 1" if how == "it fails" else "exit 0")
    platform = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    for folder in (f"build/lib.{platform}", "build/lib"):
        (left := sources / folder / "charrnn/native").mkdir(parents=True)
        for name in ("_step.so", "_recurrence.so", "_step.cpython-399-x.so"):
            (left / name).write_bytes(b"left over")
            os.utime(left / name, (0, 0))
    wheel = _build("wheel", sources, compiler)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert _names(wheel) == DATA


@can_build
@pytest.mark.slow
def test_the_program_of_a_wheel_without_libraries_trains_and_writes(sources: Path) -> None:
    """On numpy and on torch's kernels; `train` says once what a compiler would bring, and help says nothing."""
    installed = sources.parent / "installed"
    with zipfile.ZipFile(_build("wheel", sources, "/nonexistent/cc")) as archive:
        archive.extractall(installed)
    text = sources.parent / "text.txt"
    text.write_text(make_text(3000), "utf-8")
    trained = _run(installed, "train", str(text), "--hidden", "8", "--steps", "2", "--threads", "1")
    assert trained.returncode == 0, trained.stderr
    said = [line for line in trained.stderr.splitlines() if line.endswith("charrnn again")]
    assert len(said) == int(_is_missed()), trained.stderr
    written = _run(installed, "sample", "-n", "20")
    assert written.returncode == 0
    assert re.fullmatch(r"run checkpoints/text \(best at step 2, .*\)\n", written.stderr)
    assert len(written.stdout) == 21
    assert "compiler" not in _run(installed, "train", "--help").stderr


@can_build
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("cc"), reason="there is no C compiler")
def test_with_a_compiler_the_wheel_is_for_every_python_of_a_platform(sources: Path) -> None:
    """From the archive of the sources, which holds all of C; both libraries load; a later build that fails leaves
    nothing of this one."""
    quick = 'for word do shift; [ "$word" = -O3 ] && word=-O0; set -- "$@" "$word"; done'
    compiler = _program(sources.parent / "cc", quick, 'exec cc "$@"')
    with tarfile.open(_build("sdist", sources, "/nonexistent/cc")) as archive:
        archive.extractall(sources.parent / "unpacked", filter="data")
    (tree,) = (sources.parent / "unpacked").iterdir()
    wheel = _build("wheel", tree, compiler)
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{tag}.whl")
    assert _names(wheel) == DATA | LIBRARIES
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(sources.parent / "installed")
    native = sources.parent / "installed/charrnn/native"
    assert search(native / "_step", "charrnn_version", step.VERSION).library is not None
    assert search(native / "_recurrence", "charrnn_recurrence_version", window.VERSION).library is not None
    (tree / "charrnn/native/lanes.h").touch()
    assert _names(_build("wheel", tree, "/nonexistent/cc")) == DATA


# ------------------------------------------------------------------------------ what is said where it is missed


@pytest.fixture
def missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process finds no library, as where none was built, on a machine of the kind that was measured."""
    for module in (step, window):
        monkeypatch.setattr(module, "STEM", tmp_path / "_none")
        module.find_library.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    yield
    for module in (step, window):
        module.find_library.cache_clear()


def _said(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if line.endswith("charrnn again")]


TRAIN = "note: charrnn was installed without its compiled code, and torch's own kernels train: "
SAMPLE = "note: charrnn was installed without its compiled code, and numpy writes: "


@pytest.mark.usefixtures("missed")
def test_train_says_once_what_a_compiler_would_bring(
    text_file: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For cells that have a compiled kernel; not where compiled code is turned off on purpose, nor with --quiet."""
    if not _is_missed():
        pytest.skip("torch brings another OpenMP than GNU's")
    words = f"train {text_file(2000)} --hidden 8 --threads 1 --steps 2".split()
    (line,) = _said(command(*words, "--dry-run"))
    assert line.startswith(TRAIN)
    assert line.endswith("; install gcc or clang, then charrnn again")
    assert _said(command(*words, "--layer-norm", "--dry-run")) == []
    assert _said(command(*words, "--quiet")) == []
    (line,) = _said(command(*words, *"--cell gru --reset-gate before --out other --dry-run".split()))
    assert "and torch trains step by step: compiled code is " in line
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert _said(command(*words, "--dry-run")) == []


@pytest.mark.usefixtures("missed")
def test_what_only_compiled_code_knows_is_run_step_by_step_without_it(
    text_file: Callable[..., Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run says so where compiled code is turned off, and on a GPU; and the layers' memory is that of a loop."""
    model = ModelConfig(cell="gru", num_layers=1, hidden_size=64, reset_gate="before")
    assert is_looped(torch.device("cpu"), model)
    assert is_looped(torch.device("cuda"), model)
    assert not is_looped(torch.device("cpu"), replace(model, reset_gate="after"))
    training = TrainingConfig()
    assert training_memory(model, training, 20, kept=2, is_looped=True) > training_memory(model, training, 20, kept=2)
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    words = f"train {text_file(2000)} --cell gru --reset-gate before --hidden 8 --threads 1 --steps 2 --dry-run".split()
    assert "gru with reset gate before the product is run step by step without compiled code" in command(*words).err


@pytest.mark.usefixtures("missed")
def test_sample_says_so_where_the_text_takes_long(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, before the text; a text of the usual length is there before the line could be read."""
    run = Path("checkpoints/tiny/best.safetensors")
    run.parent.mkdir(parents=True)
    checkpoints.save(run, tiny())
    usual = command("sample")
    assert usual.status == 0
    assert re.fullmatch(r"run checkpoints/tiny \(best at step 40, .*\)\n", usual.err)
    monkeypatch.setattr("charrnn.cli.uncompiled.PATIENCE", 0.0)
    (line,) = _said(command("sample"))
    assert line.startswith(SAMPLE)
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    assert _said(command("sample")) == []


def test_how_long_a_text_takes_is_reckoned_by_its_length_and_the_model(missed: None) -> None:
    """A tenth of a million characters by a model of two layers of 512 units take numpy about 16 seconds."""
    wide = ModelConfig(num_layers=2, hidden_size=512)
    assert missed_in_sampling(wide, 96, 100_000) is not None
    assert missed_in_sampling(wide, 96, 10_000) is None
    assert missed_in_sampling(replace(wide, hidden_size=64), 96, 50_000) is None
    assert missed_in_sampling(replace(wide, layer_norm=True), 96, 100_000) is None


@needs_libraries
def test_a_library_of_another_version_is_refused_in_one_line(
    text_file: Callable[..., Path], command: Command, missed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the file, and says to install charrnn again."""
    monkeypatch.setattr(window, "STEM", BUILT)
    monkeypatch.setattr(window, "VERSION", window.VERSION + 1)
    if not _is_missed():
        pytest.skip("torch brings another OpenMP than GNU's")
    (line,) = _said(command(*f"train {text_file(2000)} --hidden 8 --threads 1 --steps 2 --dry-run".split()))
    assert f"{candidates(BUILT)[0].name} was built by another version of charrnn" in line
    assert line.endswith("; install charrnn again")
