"""The atlas of units as a table.

Knows findings. Refuses to know how they were made.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from charrnn.display.safe import visible
from charrnn.neurons.atlas import CONTEXT, Atlas, Finding

_RHO = "\u03c1"


def draw_atlas(atlas: Atlas, characters: int) -> Iterator[Table | Text]:
    """The table, and below it what it means and what was not found. It fits into 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("label", overflow="fold")
    for name in ("unit", "tells", "95 %", f"last {CONTEXT}", "new net"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for finding in atlas.findings:
        style = "bold" if finding.is_found else "" if finding.is_discovery else "dim"
        table.add_row(*_row(finding), style=style)
    yield table
    yield Text()
    for line in _words(atlas, characters):
        yield Text(line)


def _row(finding: Finding) -> tuple[str, ...]:
    low, high = sorted((measure(finding.low, finding), measure(finding.high, finding)))
    is_low = finding.effect < 0 and not finding.is_graded
    return (
        visible(finding.label),
        f"{'-' if is_low else ''}{finding.unit}",
        (_RHO if finding.is_graded else "") + _short(measure(finding.effect, finding)),
        f"{_short(low)} {_short(high)}",
        _short(_alone(finding.from_characters, finding)),
        _short(_alone(finding.untrained, finding)),
        finding.verdict,
    )


def _short(number: float) -> str:
    """As .996, -.893, 1.00.

    >>> _short(0.9961), _short(-0.893), _short(0.9999)
    ('.996', '-.893', '1.00')
    """
    shown = f"{number:.3f}"
    return f"{number:.2f}" if abs(float(shown)) >= 1 else shown.replace("0.", ".", 1)


def measure(effect: float, finding: Finding) -> float:
    """An effect as people know it: rho with its sign, an AUC turned so that the unit's own is above one half."""
    if finding.is_graded:
        return effect
    return (1 + (effect if finding.effect >= 0 else -effect)) / 2


def _alone(effect: float, finding: Finding) -> float:
    """What something else tells, whatever its sign."""
    return abs(effect) if finding.is_graded else (1 + abs(effect)) / 2


def _words(atlas: Atlas, characters: int) -> Iterator[str]:
    yield (
        f"tells: AUC, or {_RHO} (Spearman's) for degrees, of the unit on the half of the text that did not choose it; "
        f"- before a unit: low where the label holds. last {CONTEXT}: what the last {CONTEXT} characters tell; new "
        "net: what the same search finds in an untrained model. Verdicts other than found: characters or new net "
        "(tell as much), chance, weak (too little or too unsure)."
    )
    found = sum(finding.is_found for finding in atlas.findings)
    yield (
        f"{found} of {len(atlas.findings)} labels found, over {characters:,} characters; of units that beat chance no "
        "more than one in twenty is expected to do so by luck."
    )
    rest = atlas.units - atlas.strong
    yield (
        f"{atlas.strong:,} of {atlas.units:,} units tell some label with an AUC of 0.9 or |rho| of 0.8, "
        f"{atlas.beyond_characters:,} of them better than the last {CONTEXT} characters do; "
        f"{rest:,} ({rest / max(atlas.units, 1):.0%}) answer to none of these labels."
    )
    if atlas.too_rare:
        yield f"too rare in this text to say: {visible(', '.join(atlas.too_rare))}"
