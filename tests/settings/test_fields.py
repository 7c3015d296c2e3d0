"""What is declared of a setting: bounds and their words, what may change, and the command made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from charrnn.cli.command import Command
from charrnn.cli.options import with_options
from charrnn.errors import UsageError
from charrnn.settings.checks import FLAG, Check, number, one_of, text, whole
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import Record, help_of, setting, settings_of, switch
from charrnn.settings.run import RunConfig
from charrnn.settings.sampling import SamplingConfig


@pytest.mark.parametrize(
    ("check", "accepted", "refused", "expected"),
    [
        (number(), [-1e9, 0, 0.5], [math.nan, math.inf, -math.inf, True, "1", None], "a finite number"),
        (number(0.0), [0, 0.0, 3e38], [-1e-9, math.inf, False], "a number of at least 0"),
        (number(0.0, above=True), [1e-300, 5], [0, 0.0, -1], "a number above 0"),
        (number(0.0, 1.0), [0, 1, 0.5], [-0.1, 1.1], "a number from 0 to 1"),
        (number(0.0, 1.0, below=True), [0, 0.999], [1, 1.0], "a number from 0 to less than 1"),
        (number(0.0, 1.0, above=True), [0.001, 1], [0, 1.001], "a number above 0 and at most 1"),
        (whole(), [1, 10**15], [0, 1.0, True], "a whole number of at least 1"),
        (number(), [-3e38], [-1e39, 1e299, 10**400], "at most 3e+38 in size"),
        (whole(), [], [10**15 + 1, 2**63, 10**400], "at most 1,000,000,000,000,000"),
        (whole(3, 4096), [3, 4096], [2, 4097, 3.5], "a whole number from 3 to 4,096"),
        (one_of(Literal["a", "b"]), ["a", "b"], ["c", "", None, []], "one of a, b"),
        (text("a name"), ["", "x"], [None, b"x", 1], "a name"),
        (FLAG, [True, False], [0, 1, "true"], "true or false"),
    ],
)
def test_what_a_check_accepts_and_says(check: Check, accepted: list[Any], refused: list[Any], expected: str) -> None:
    """Its ends are in or out as the words have it, and no truth value is taken for a number."""
    for value in accepted:
        check.require("--it", value)
    for value in refused:
        with pytest.raises(UsageError) as caught:
            check.require("--it", value)
        assert (caught.value.message, caught.value.hint) == (f"--it is {value!r}", f"it must be {expected}")


def test_what_decides_on_what_is_learned_may_not_change_when_a_run_is_resumed() -> None:
    """Budget and reporting may, and how many members share the budget."""
    for cls, may in (
        (ModelConfig, False),
        (DataConfig, False),
        (TrainingConfig, False),
        (Budget, True),
        (RunConfig, True),
    ):
        named = {name: declared.may_change for name, declared in settings_of(cls).items()}
        assert named.pop("ensemble", True)
        assert set(named.values()) == {may}


def test_a_setting_that_is_left_open_may_be_none_and_no_other() -> None:
    """None is the default of the first alone."""
    assert SamplingConfig(top_k=None).top_k is None
    with pytest.raises(UsageError, match="--length is None"):
        SamplingConfig(length=None)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Colours(Record):
    """Settings for a command."""

    hue: str = setting("red", text("a colour"), "--hue", panel="Colours")
    """Colour of the paper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Printing(_Colours):
    """More of them."""

    copies: int = setting(1, whole(1, 9), "--copies", "-x", panel="Paper", shown="one")
    """How often it is printed."""
    glossy: bool = switch(True, "--glossy", panel="Paper")
    """Print on glossy paper."""
    folder: Path | None = setting(
        None, Check(Path, lambda value: isinstance(value, Path), "a path"), "--to", panel="Paper"
    )
    """Where it goes."""


def test_a_command_is_made_of_settings() -> None:
    """Inherited ones come last; of a dict what was said is known from what was left open; words can be handed in."""
    got: list[Any] = []

    @with_options(hue={"blue": "as the sea", "green": "as grass"})
    def command(
        what: Annotated[str, typer.Argument()], *, printing: _Printing, more: Annotated[dict[str, Any], SamplingConfig]
    ) -> None:
        """Print it."""
        got.append((what, printing, more))

    app = typer.Typer()
    app.command(cls=Command)(command)
    run = CliRunner().invoke
    assert run(app, ["page", "--hue", "blue", "--no-glossy", "--to", "a/b", "--top-k", "3"]).exit_code == 0
    assert got == [("page", _Printing(hue="blue", glossy=False, folder=Path("a/b")), {"top_k": 3})]
    assert list(help_of(_Printing)) == ["copies", "glossy", "folder", "hue"]
    assert run(app, ["page", "--hue", "red"]).exit_code == 2
    refused = run(app, ["page", "-x", "10"]).exception
    assert isinstance(refused, UsageError)
    assert (refused.message, refused.hint) == ("--copies is 10", "it must be a whole number from 1 to 9")
    shown = " ".join(run(app, ["--help-all"], env={"COLUMNS": "200"}).output.split())
    for words in (
        "How often it is printed. [default: one]",
        "Print on glossy paper. [default: glossy]",
        "Where it goes.",
        "Colour of the paper: blue (as the sea), green (as grass). [default: red]",
    ):
        assert words in shown
