"""`charrnn sample --clamp L2.c318=+1`: what the model writes while units are held, and what that changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from charrnn.cli.options import refuse_beside
from charrnn.errors import RecordingFailed, TextError, UsageError
from charrnn.settings.checks import FLAG, Check
from charrnn.settings.fields import Record, setting

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.sampling.sampler import SampleRequest
    from charrnn.settings.sampling import SamplingConfig

COUNT = 32
"""Pairs of texts that are compared where `--count` is not given."""

_option = partial(setting, panel="Steering")


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering(Record):
    """Which units are held, and whether what that changes is to be told."""

    clamp: list[str] | None = _option(None, Check(list[str], bool, "UNIT=VALUE"), "--clamp", metavar="UNIT=VALUE")
    """Hold a unit at a value while the model reads and writes, such as L2.c318=+1 (an lstm's c as tanh c: -1 to 1;
    gates 0 to 1; may be given several times)."""
    compare: bool = _option(False, FLAG, "--compare")
    """Tell, instead of text, what --clamp changes, by writing --count texts with the units held and as many without,
    from the same random numbers, and comparing the labels of inspect --find."""

    def clamped(self, loaded: Checkpoint) -> Checkpoint:
        """Returns the checkpoint with the units held. Raises UsageError where one cannot be held."""
        if not self.clamp:
            return loaded
        from charrnn.neurons.clamping import clamp, parse_clamp
        from charrnn.neurons.columns import with_own_columns

        held = dict(parse_clamp(one, loaded.of_units) for one in self.clamp)
        if len(held) < len(self.clamp):
            raise UsageError("--clamp holds one unit at two values", "give each unit once")
        model, parameters = with_own_columns(loaded.model, loaded.parameters)
        return replace(loaded, model=model, parameters=clamp(model, parameters, held))

    def check_beside(self, others: dict[str, bool], drawing: SamplingConfig) -> None:
        """Raises UsageError where there is nothing to compare, or where text was asked for beside the table."""
        if not self.compare:
            return
        if not self.clamp:
            raise UsageError(
                "--compare needs to know what to hold", "add --clamp UNIT=VALUE, such as --clamp L2.c318=+1"
            )
        refuse_beside("--compare prints a table", others)
        if drawing.temperature == 0 or drawing.top_k == 1:
            raise UsageError(
                "with a temperature of 0, or --top-k 1, all texts are one: nothing to compare", "draw freely"
            )

    def show(
        self, free: Any, held: Any, loaded: Checkpoint, prime: Any, requests: Sequence[SampleRequest], *, as_json: bool
    ) -> None:
        """Writes the same requests with both engines after `prime` (ids) and prints what differs."""
        from charrnn.cli.without_graphs import without_graphs
        from charrnn.neurons.steering import FEWEST, compare

        try:
            texts, ids = zip(*(_written(engine, loaded, prime, requests) for engine in (free, held)), strict=True)
            bits = tuple(_bits(free, prime, each) for each in ids)
        except RecordingFailed as failed:  # nothing has been shown
            without_graphs(failed)
        try:
            found = compare(*texts)
        except ValueError as error:
            raise TextError(f"{error}", f"write {FEWEST} or more that are not empty (--count)") from error
        said = self.clamp or []
        if as_json:
            changes = [{**asdict(change), "difference": change.difference} for change in found.changes]
            characters = [{"character": one, "free": before, "held": after} for one, before, after in found.characters]
            body = {"clamp": said, "pairs": found.pairs, "bits_free": bits[0], "bits_held": bits[1]}
            print(json.dumps({**body, "changes": changes, "characters": characters}))
            return
        from charrnn.cli.output import print_pieces
        from charrnn.display.report import spaced
        from charrnn.display.steering import pieces

        length, may_end = requests[0].config.length, loaded.vocabulary.has_end
        told = pieces(found, ", ".join(said), length, bits, may_end=may_end)  # type: ignore[arg-type]
        print_pieces(spaced(told))


def _written(
    engine: Any, loaded: Checkpoint, prime: Any, requests: Sequence[SampleRequest]
) -> tuple[list[str], list[list[int]]]:
    """Writes the requests and returns text and ids of each, without the prime."""
    from charrnn.sampling.sampler import write

    texts, ids = [""] * len(requests), [list[int]() for _ in requests]
    for piece in write(engine, loaded.vocabulary, prime, requests):
        texts[piece.sample] += piece.text
        ids[piece.sample] += piece.ids.tolist()
    return texts, ids


def _bits(engine: Any, prime: Any, texts: Sequence[Sequence[int]]) -> float:
    """Returns what a character of the texts costs the model in bits, each text read after the prime."""
    import numpy as np

    nats, count = 0.0, 0
    logits, state = engine.read(np.asarray(prime), engine.zero_state(1)) if len(prime) else (None, engine.zero_state(1))
    for ids in texts:
        if len(ids) > (logits is None):
            scored = engine.score(np.asarray(ids), state, logits).log_probabilities
            nats -= float(np.nansum(scored))
            count += int(np.isfinite(scored).sum())
    return nats / max(1, count) / float(np.log(2))
