"""Writes samples to stdout as they come: as text, with lines between them on a terminal, or as JSON.

A pipe or a file gets the model's text and nothing else: of a model of bytes the bytes themselves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.display.safe import write, write_bytes

if TYPE_CHECKING:
    from charrnn.cli.novelty import Compare
    from charrnn.sampling.sampler import SampledPiece, SampleRequest
    from charrnn.text.vocabulary import Vocabulary

    Written = tuple[SampleRequest, SampledPiece]
    """A piece of a sample and what it was asked for by; the pieces of a sample come one after the other."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples stand in the output."""

    is_several: bool
    """Whether there may be more than one sample."""
    is_row: bool
    """Whether there are several temperatures."""
    has_prime: bool = True
    """Whether a sample is written with its prime."""
    separator: str | None = None
    """What stands between samples; by default a rule on a terminal, but not behind a line, and elsewhere a line end
    where there is none."""
    color: bool = False
    """Whether characters are coloured on a terminal by how little the model expected them."""


def print_json(pieces: Iterable[Written], vocabulary: Vocabulary, compare: Compare | None = None) -> None:
    """Prints a line for each sample, as it ends, with what `compare` says of its text."""
    parts: list[SampledPiece] = []
    prime, shown = None, ""
    for request, piece in pieces:
        parts.append(piece)
        if piece.ended is None:
            continue
        if request.prime is not prime:
            prime, shown = request.prime, vocabulary.decode(request.prime)  # type: ignore[arg-type]
        body: dict[str, Any] = {
            "sample": request.number,
            "seed": request.config.seed,
            "temperature": request.config.temperature,
            "prime": shown,
            "text": "".join(part.text for part in parts),
            "ended_by": piece.ended.reason,
            **({} if piece.ended.stop is None else {"stop": piece.ended.stop}),
            "log_probabilities": [round(value, 6) for part in parts for value in part.log_probabilities.tolist()],
        }
        if compare is not None:
            body["novelty"] = compare(_units(parts, vocabulary))
        print(json.dumps(body), flush=True)
        parts = []


def _units(parts: Sequence[SampledPiece], vocabulary: Vocabulary) -> str:
    """Returns a sample as the model's characters, which are bytes in byte mode, also where these are not UTF-8."""
    if vocabulary.kind != "bytes":
        return "".join(part.text for part in parts)
    return "".join(chr(byte) for part in parts for byte in part.ids.tolist() if byte < 256)


def stream(pieces: Iterable[Written], vocabulary: Vocabulary, layout: Layout) -> None:
    """Writes each sample as it comes, with its prime before it."""
    out = _Out(vocabulary)
    is_first = is_new = True
    was_line = False
    show: Callable[[SampledPiece], None] = out.piece
    try:
        for request, piece in pieces:
            if is_new:
                _part(out, request, layout, is_first=is_first, was_line=was_line)
                out.begin()
                show = _coloured(out, vocabulary) if layout.color and out.is_terminal else out.piece
                if layout.has_prime:
                    out.prime(request.prime)
            show(piece)
            sys.stdout.flush()
            is_first, is_new = False, piece.ended is not None
            was_line = piece.ended is not None and piece.ended.is_line and out.is_one_line
    finally:
        # Ctrl-C keeps the text so far, and the prompt begins on a line of its own.
        if layout.separator is None or out.is_terminal:
            out.end_line(is_needed=layout.is_several and not is_first)
        sys.stdout.flush()


def _part(out: _Out, request: SampleRequest, layout: Layout, *, is_first: bool, was_line: bool) -> None:
    """Writes what stands before a sample: nothing before a single one, and no rule behind one that is a line."""
    if not is_first and layout.separator is not None:
        write(layout.separator, sys.stdout)
    elif not is_first:
        out.end_line(is_needed=True)
    if layout.separator is not None or not out.is_terminal:
        return
    if layout.is_row or (layout.is_several and not is_first and not was_line):
        name = f"-- temperature {request.config.temperature:g} " if layout.is_row else ""
        sys.stdout.write(name.ljust(40, "-") + "\n")


class _Out:
    """stdout, and how the sample that is written there ends so far."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._vocabulary = vocabulary
        self._is_exact = vocabulary.kind == "bytes" and not self.is_terminal
        self._last, self.is_one_line = "", True

    def begin(self) -> None:
        """Begins a sample."""
        self._last, self.is_one_line = "", True

    def prime(self, ids: Any) -> None:
        """Writes the ids of a prime."""
        if self._is_exact:
            self._bytes(ids)
        else:
            for text in self._vocabulary.decode_pieces(ids):
                self.text(text)

    def piece(self, piece: SampledPiece) -> None:
        """Writes a piece of a sample."""
        if self._is_exact:
            self._bytes(piece.ids)
        else:
            self.text(piece.text)

    def text(self, text: str) -> None:
        """Writes text."""
        write(text, sys.stdout)
        self.note(text)

    def note(self, text: str) -> None:
        """Takes note of a text that was written."""
        self.is_one_line = self.is_one_line and "\n" not in (self._last + text)[:-1]
        self._last = text[-1:] or self._last

    def end_line(self, *, is_needed: bool) -> None:
        """Ends the line that the sample has begun, and with `is_needed` also that of a sample without text."""
        if (self._last or is_needed) and self._last != "\n":
            sys.stdout.write("\n")

    def _bytes(self, ids: Any) -> None:
        from charrnn.sampling.choosing import encoded

        raw = encoded(self._vocabulary, ids)
        write_bytes(raw, sys.stdout)
        self.note(raw[-1:].decode("latin-1"))


def _coloured(out: _Out, vocabulary: Vocabulary) -> Callable[[SampledPiece], None]:
    """Returns what shows pieces of one sample, each character coloured by its surprisal (the sum of its bytes')."""
    from rich.console import Console

    from charrnn.display.surprisal import coloured

    console, decode = Console(highlight=False, soft_wrap=True), vocabulary.decoder()
    under_way = 0.0

    def show(piece: SampledPiece) -> None:
        nonlocal under_way
        characters: list[tuple[str, float]] = []
        for id_, log_probability in zip(piece.ids.tolist(), piece.log_probabilities.tolist(), strict=True):
            under_way += log_probability
            if text := decode(id_):
                characters.append((text, under_way))
                under_way = 0.0
        if piece.is_last and (rest := decode.finish()):
            characters.append((rest, under_way))
        console.print(coloured(characters, console), end="")
        out.note("".join(text for text, _ in characters))

    return show
