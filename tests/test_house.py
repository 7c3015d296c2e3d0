"""The house itself: import direction, a start without torch, options, configuration and documents that agree."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.help_page import default_of
from charrnn.errors import UsageError
from charrnn.settings import config, sampling
from charrnn.settings.fields import help_of, settings_of
from charrnn.settings.launch import Launch
from charrnn.settings.run import RunConfig
from charrnn.text.catalogue import names
from tests.kit.guide_options import commands, pages
from tests.kit.tiny import tiny

ROOT = Path(__file__).parents[1]
COMMANDS = commands()
CONFIGURATIONS = [
    config.ModelConfig,
    config.DataConfig,
    config.TrainingConfig,
    config.Budget,
    RunConfig,
    sampling.SamplingConfig,
    sampling.Selection,
]


def _python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120, cwd=cwd
    )


def test_imports_point_down() -> None:
    """The contracts of pyproject.toml hold."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["inspect", "--help"], ["--version"], ["trian"], ["sample", "--top-k"]],
)
def test_help_and_mistakes_answer_without_torch(arguments: list[str]) -> None:
    """Neither torch nor numpy is loaded to print a help page or a usage error."""
    code = (
        "import sys\n"
        "from charrnn.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = _python(code, *arguments)
    assert result.returncode == 0, result.stderr


VIEWS = (
    "", "--unit L1.c1 --card", "--unit L2.h0 --ablate", "--patch (a)..=b --unit L1.c1", "--predictions", "--gates",
    "--find --ablate --html a.html --npz a.npz", "--horizon --distance 20 --lanes 3",
    "--select ab --match --threshold 0.01", "--probe vowel", "--states all --npz b.npz",
    "--states documents --npz b.npz",
    "--recurrence -c checkpoints/tiny -c checkpoints/other",
)  # fmt: skip


def test_looking_inside_and_steering_need_no_torch(tmp_path: Path) -> None:
    """Every view of `inspect` on a CPU but --circuit, which needs a gradient, and `sample --clamp`: torch, whose import
    takes a second, is not loaded."""
    for name in ("other", "tiny"):
        run = tmp_path / f"checkpoints/{name}/best.safetensors"
        run.parent.mkdir(parents=True)
        checkpoints.save(run, tiny())
    random = np.random.default_rng(2)
    (tmp_path / "text.txt").write_text("".join(random.choice(list("\n abcdefgh"), 900)), "utf-8")
    commands = [f"inspect text.txt {view}" for view in VIEWS]
    commands += ["inspect", "sample --clamp L1.c1=1 -n 9", "sample --clamp L1.c1=1 --compare -n 40 --count 4"]
    code = (
        "import sys\n"
        "from charrnn.cli.app import main\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv[1:] = command.split()\n"
        "    try: main()\n"
        "    except SystemExit as leaving: assert not leaving.code, command\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    result = _python(code, *commands, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_no_module_is_longer_than_350_lines() -> None:
    """What is longer holds more than one idea."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "charrnn").rglob("*.py")}
    assert len(lengths) > 100
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 350} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_two_options_of_a_command_share_a_name(command: str) -> None:
    """Of several classes of settings that one command takes, too."""
    flags = [flag for each in COMMANDS[command].params for flag in (*each.opts, *each.secondary_opts)]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("cls", CONFIGURATIONS, ids=lambda cls: cls.__name__)
def test_every_setting_is_declared_with_one_sentence_that_stands_alone(cls: type) -> None:
    """The string below a field is its documentation and its option's help; it leans on no neighbour's."""
    assert list(help_of(cls)) == [field.name for field in fields(cls)] == list(settings_of(cls))
    for text in help_of(cls).values():
        assert len(text) > 10
        assert text.endswith(".")
        assert ". " not in text
        assert not re.search(r"\b[Tt]he same (for|over|from)\b|\bthat norm\b", text)


@pytest.mark.parametrize("cls", CONFIGURATIONS, ids=lambda cls: cls.__name__)
def test_every_setting_has_its_option(cls: type) -> None:
    """Under the name the messages use, in its panel, with its default where one is shown."""
    command = "sample" if cls.__module__ == sampling.__name__ else "train"
    for field in fields(cls):
        declared, option = settings_of(cls)[field.name], _parameters(command)[field.name]
        assert [*option.opts, *option.secondary_opts] == [flag for flags in declared.flags for flag in flags.split("/")]
        assert declared.flag in option.opts
        assert option.rich_help_panel == declared.panel
        default = declared.shown if declared.shown is not None else field.default
        if isinstance(default, bool):
            default = declared.flags[0].split("/")[not default].removeprefix("--") if option.secondary_opts else ""
        assert default_of(option) == (f"[default: {default}]" if default not in (None, "") else "")
        assert option.help.endswith(".")


def test_a_beginner_needs_about_twenty_options() -> None:
    """Of `train`, with those that are no settings of a run."""
    declared = [each for cls in (*CONFIGURATIONS[:-2], Launch) for each in settings_of(cls).values()]
    assert 15 <= sum(each.level == "everyday" for each in declared) <= 25
    for flag in ("--hidden", "--lr", "--minutes", "--sample-every", "--out", "--fresh", "--validation"):
        (one,) = [each for each in declared if each.flag == flag]
        assert one.level == "everyday"


@pytest.mark.parametrize("cls", CONFIGURATIONS, ids=lambda cls: cls.__name__)
def test_what_a_setting_does_not_accept_is_refused_in_its_name(cls: type) -> None:
    """Of every setting: its default is accepted, another type and what is out of bounds is not."""
    for field in fields(cls):
        declared = settings_of(cls)[field.name]
        assert field.default is None or declared.check.accepts(field.default)
        for wrong in (object(), float("nan"), [], 10**400, -(10**400)):
            with pytest.raises(UsageError) as caught:
                cls(**{field.name: wrong})
            assert caught.value.message == f"{declared.flag} is {wrong!r}"
            said = [declared.check.expected, *(declared.check.beyond or ())[1:]]
            assert caught.value.hint in [f"it must be {each}" for each in said]


def _parameters(command: str) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


def test_the_names_of_the_catalogue_are_in_help() -> None:
    """A corpus that can be had by name can be found by reading."""
    for name in names():
        assert name in _parameters("train")["corpus"].help


def test_no_pickle_anywhere() -> None:
    """Neither the module nor torch's way to it."""
    for path in (ROOT / "charrnn").rglob("*.py"):
        assert not re.search(r"import pickle|torch\.(load|save)\(", path.read_text("utf-8")), path


def test_the_programs_of_the_manual_say_what_is_compiled() -> None:
    """Each line of Python that it shows finds the library that this installation has."""
    from charrnn.native.step import find_library

    programs = re.findall(r'`python -c "([^`]*)"`', "".join(pages().values()))
    assert len(programs) == 2
    for program in programs:
        result = _python(program, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        assert ("None" in result.stdout) == (find_library() is None)
