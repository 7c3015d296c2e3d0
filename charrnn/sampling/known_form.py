"""Brings the texts of the settings of sampling into the form in which the model writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from charrnn.settings.sampling import SamplingConfig
from charrnn.text.fitting import Reader


def in_known_form(configs: Sequence[SamplingConfig], reader: Reader) -> tuple[list[SamplingConfig], list[str]]:
    """Returns settings with stop texts and biased texts in the normal form, with the line ends and in the case that the
    model knows, and a sentence about each change."""
    notes = dict[str, None]()

    def read(text: str, option: str) -> str:
        text, said = reader.text(text, option, is_written=True)
        notes.update(dict.fromkeys(said))
        return text

    def changed(config: SamplingConfig) -> SamplingConfig:
        stops = [read(stop, "--stop") for stop in config.stops]
        biases: dict[str, float] = {}
        for text, bias in config.biases.items():
            known = read(text, "--logit-bias")
            biases[known] = biases.get(known, 0.0) + bias
        if tuple(stops) != config.stops:
            config = replace(config, stop=stops)
        return config if biases == config.biases else replace(config, logit_bias=biases)

    return [changed(config) for config in configs], list(notes)
