"""The random configurations of the campaign `resume`: of every setting that there is."""

from __future__ import annotations

import random

from charrnn.settings.fields import settings_of
from charrnn.training.request import GROUPS
from tests.campaign._configurations import LEFT_OUT, drawn, settings, values


def test_every_setting_of_training_is_drawn_or_left_out_for_a_reason() -> None:
    """A new one is drawn without being named anywhere, with values that it accepts."""
    declared = {name for cls in GROUPS.values() for name in settings_of(cls)}
    assert set(LEFT_OUT) < declared
    assert all(LEFT_OUT.values())
    assert set(settings()) == declared - set(LEFT_OUT)
    flags = {each.flag for each in settings().values()}
    seen = {flag for seed in range(400) for flag in drawn(random.Random(seed)).options}
    assert seen - {"--preset"} == flags


def test_the_values_of_a_setting_are_several() -> None:
    """Most of them; each is what its option takes."""
    for name, declared in settings().items():
        words = values(name, declared)
        assert len(words) > 1 or name == "validation", name
        for flag, *more in words:
            assert flag in declared.flags[0].split("/")
            kind = declared.check.kind
            assert not more or declared.check.accepts(kind(*more) if isinstance(kind, type) else more[0]), more


def test_what_is_refused_loses_an_option_that_the_message_names() -> None:
    """And where it names none, any but a size."""
    configuration = drawn(random.Random(3))
    flags = set(configuration.options)
    sizes = ("--hidden", "--embedding", "--layers", "--batch", "--bptt", "--threads")
    named = min(flags - set(sizes))
    configuration.without_one_of(f"error: {named} is no good with --hidden", random.Random(0))
    assert flags - set(configuration.options) == {named}
