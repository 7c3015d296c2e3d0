"""The names of the cells, where each class lies, and a line of help on it. Nothing heavy is imported for them."""

from __future__ import annotations

from typing import NamedTuple


class CellEntry(NamedTuple):
    """A cell that a configuration can ask for."""

    module: str
    kind: str
    """The name of its class in the module."""
    help: str


CELLS = {
    "lstm": CellEntry("charrnn.cells.lstm", "LSTM", "long short-term memory"),
    "gru": CellEntry("charrnn.cells.gru", "GRU", "gated recurrent unit"),
    "rnn": CellEntry("charrnn.cells.rnn", "RNN", "tanh"),
    "urnn": CellEntry("charrnn.cells.unitary", "URNN", "complex numbers under a unitary matrix"),
}
NAMES = tuple(CELLS)


def with_article(name: str) -> str:
    """Returns a name with its article; one of up to four letters is spelled out when it is read.

    >>> with_article("lstm"), with_article("urnn"), with_article("mingru")
    ('an lstm', 'a urnn', 'a mingru')
    """
    vowels = "aefhilmnorsx" if len(name) <= 4 else "aeiou"
    return f"{'an' if name[0] in vowels else 'a'} {name}"


def enumerated(names: list[str], last: str = "or") -> str:
    """Puts names one after the other as in a sentence.

    >>> enumerated(["lstm"]), enumerated(["lstm", "gru", "rnn"], "and")
    ('lstm', 'lstm, gru and rnn')
    """
    return f" {last} ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


HELP = enumerated([f"{name} ({entry.help})" for name, entry in CELLS.items()]) + "."
