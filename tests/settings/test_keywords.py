"""Settings as keyword arguments: signatures, docstrings, types and errors agree with the fields that declare them."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import charrnn
import charrnn.settings.keywords
from charrnn.errors import UsageError
from charrnn.python.pretrained import Pretrained
from charrnn.settings.fields import settings_of
from charrnn.settings.keywords import LISTS, SAMPLING, TRAINING, errors_in_python, in_python, keywords
from charrnn.settings.sampling import SamplingConfig
from charrnn.settings.typed import ListSettings, SamplingSettings, TrainingSettings
from tests.kit.typed_settings import FILE, source

FUNCTIONS: list[tuple[Callable[..., Any], tuple[type[Any], ...]]] = [
    (Pretrained.sample, SAMPLING),
    (Pretrained.samples, LISTS),
    (Pretrained.stream, SAMPLING),
    (charrnn.sample, SAMPLING),
    (charrnn.train, TRAINING),
]


@pytest.mark.parametrize(("function", "classes"), FUNCTIONS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_every_setting_is_an_explicit_keyword(function: Callable[..., Any], classes: tuple[type[Any], ...]) -> None:
    """With its type, its default (None where the program chooses) and its help; no name stands twice."""
    signature, document = inspect.signature(function), inspect.getdoc(function)
    assert document is not None
    assert all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())
    hints = get_type_hints(function)
    for cls in classes:
        for field in fields(cls):
            parameter = signature.parameters[field.name]
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            chosen = settings_of(cls)[field.name].shown is not None
            assert parameter.default == (None if chosen else field.default)
            plain = get_type_hints(cls)[field.name]
            assert hints[field.name] == parameter.annotation == (plain | None if chosen else plain)
            assert document.count(f"\n    {field.name}\n") == 1
    assert "--" not in document.replace("`charrnn sample --clamp`", "").replace("`eval --split test`", "")


def test_no_setting_of_training_has_the_name_of_another() -> None:
    """Nor of an argument of `train`, whose signature would then have one fewer."""
    settings = [field.name for cls in TRAINING for field in fields(cls)]
    own = "corpus text out name preset validation glob device threads fresh init_from distill_from change".split()
    assert [*inspect.signature(charrnn.train).parameters] == [*own, *settings]
    assert len({*own, *settings}) == len(own) + len(settings)


def test_the_types_for_type_checkers_are_those_of_the_fields() -> None:
    """The generated file is what the generator writes, and says the same as the signatures."""
    assert FILE.read_text("utf-8") == source(), "run: python -m tests.kit.typed_settings"
    kinds = ((SamplingSettings, SAMPLING), (ListSettings, LISTS), (TrainingSettings, TRAINING))
    for typed, classes in kinds:
        assert get_type_hints(typed) == {each.name: each.annotation for each in keywords(*classes).values()}


@pytest.mark.parametrize(
    ("given", "meant"),
    [("lr", "learning_rate"), ("hidden", "hidden_size"), ("layers", "num_layers"), ("hiden_size", "hidden_size"),
     ("clip", "clip_norm"), ("dropuot", "dropout"), ("freshh", "fresh"), ("bytes", "as_bytes")],
)  # fmt: skip
def test_a_wrong_name_is_refused_with_the_one_that_was_meant(given: str, meant: str) -> None:
    """Whether it was misspelled or is the option's; before anything is read."""
    with pytest.raises(
        TypeError, match=rf"train\(\) got an unexpected keyword argument '{given}'\. Did you mean '{meant}'\?"
    ):
        charrnn.train("nowhere", **{given: 1})  # type: ignore[arg-type]


def test_a_name_that_is_like_no_other_has_no_suggestion() -> None:
    """The message ends with the name."""
    with pytest.raises(TypeError, match=r"sample\(\) got an unexpected keyword argument 'zzz'$"):
        charrnn.sample(zzz=1)  # type: ignore[call-arg]


def test_errors_speak_of_keywords() -> None:
    """Options become keywords, with their values where these are values; what is no option of ours stays."""
    assert doctest.testmod(charrnn.settings.keywords).failed == 0
    assert in_python("--lr is 0; a smaller --clip; --hidden 64 -> 128") == (
        "learning_rate is 0; a smaller clip_norm; hidden_size=64 -> 128"
    )
    assert (
        in_python("--fresh, or --no-cautious and --unknown skip") == 'fresh=True, or cautious=False and unknown="skip"'
    )
    assert in_python("pytest --lf a--lr --lr-x") == "pytest --lf a--lr --lr-x"
    with pytest.raises(UsageError) as caught, errors_in_python():
        SamplingConfig(top_k=0)
    assert str(caught.value) == "top_k is 0\nit must be a whole number of at least 1"
    with pytest.raises(UsageError) as caught:
        SamplingConfig(top_k=0)
    assert caught.value.message == "--top-k is 0"


PROGRAM = """
import charrnn
from charrnn.events import Validated

model = charrnn.load("run", device="cpu")
text: str = model.sample("a", length=3, top_k=2, unknown="skip")
texts: list[str] = model.samples(2, temperatures=[0.5, 1.0], seed=3)
bits: float = model.score(text).bits_per_character
shape: tuple[int, ...] = model.record(text, units=["c"]).c.shape
for event in charrnn.train("c.txt", minutes=2, hidden_size=64, cell="gru", init="orthogonal", dropout=None):
    if isinstance(event, Validated):
        nats: float = event.validation_nats
model.sample("a", temprature=1.0)
model.sample("a", length="long")
charrnn.train("c.txt", lr=0.1)
charrnn.train("c.txt", init="other")
charrnn.train("c.txt", fresh=1)
charrnn.load("run", device="gpu")
"""


@pytest.mark.slow
def test_a_type_checker_knows_every_keyword(tmp_path: Path) -> None:
    """mypy, as a user runs it: accepts what is right, and finds the six lines with a wrong name or type."""
    (tmp_path / "program.py").write_text(PROGRAM)
    cache = Path(charrnn.__file__).parents[1] / ".mypy_cache/users"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", "program.py"]
    # An installation for development may be one that only Python itself can follow.
    environment = os.environ | {"MYPYPATH": str(Path(charrnn.__file__).parents[1])}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    last = PROGRAM.count("\n")
    found = [
        int(line.split(":")[1])
        for line in result.stdout.splitlines()
        if line.startswith("program.py") and " error: " in line
    ]
    assert found == [*range(last - 5, last + 1)], result.stdout + result.stderr
    assert 'did you mean "temperature"?' in result.stdout
