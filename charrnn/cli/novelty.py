"""`charrnn eval --novelty SAMPLES`: what of samples stands in the text that a model was trained on, and what is new."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from charrnn.errors import TextError, UsageError
from charrnn.wording import count, shortened

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.evaluation.novelty import LineTally, Novelty
    from charrnn.text.corpus import Corpus
    from charrnn.text.documents import Documents
    from charrnn.text.held_out import HeldOut
    from charrnn.text.stored import TextIds

NOVELTY = typer.Option(
    "--novelty",
    help="Compare a file of samples, or several, with the text of the run or with TEXT: "
    "what is copied, and what is new.",
    metavar="SAMPLES",
    rich_help_panel="Beside the score",
    show_default=False,
)
_Part = Literal["all", "train", "validation", "test"]
Compare = Callable[[str], dict[str, Any]]
"""A function that compares one sample, in byte mode with a character for each byte, with a text."""
_MOST_ROWS = 20
_SHOWN = 200
"""Characters of a stretch that are shown."""


def check(is_plain: bool, given: Mapping[str, bool]) -> None:
    """Raises UsageError where something else is asked for than samples, about which no score says anything."""
    for flag, is_given in {**given, "--dynamic, --tune or --temperature": not is_plain}.items():
        if is_given:
            raise UsageError(
                f"--novelty compares samples and scores nothing, so {flag} does not go with it", f"leave {flag} out"
            )


def run(
    samples: Sequence[str],
    named: Sequence[str],
    path: Path,
    loaded: Checkpoint,
    read: Callable[..., Corpus],
    *,
    split: _Part,
    as_json: bool,
) -> None:
    """Compares samples with a text and prints what was found; `path` is the checkpoint's, `read` reads what is `named`.

    The text is the part of the run's own that it was trained on, or all of another one, unless `split` names a part.
    """
    from charrnn.cli.own_text import own_text
    from charrnn.cli.samples import read_samples
    from charrnn.display.progress import WorkDisplay
    from charrnn.evaluation.novelty import MOST_CHARACTERS, novelty

    if "-" in samples and "-" in named:
        raise UsageError("standard input (-) is named twice", "it can be read only once")
    found = read_samples(list(samples), loaded.data)
    characters = sum(len(text) for _, text in found)
    if characters > MOST_CHARACTERS:
        raise TextError(
            f"the samples have {characters:,} characters, and {MOST_CHARACTERS:,} can be compared at a time",
            "compare a part of them",
        )
    corpus = read(*named) if named else own_text(path, loaded)
    is_own = corpus.sha256 == loaded.corpus["sha256"]
    part = "train" if split == "all" and is_own else split
    against = _against(corpus, loaded, part)
    with WorkDisplay() as bar:
        each, lines = novelty(found, against.ids, corpus.vocabulary, lambda done, total: bar("comparing", done, total))
    numbers = against.line_numbers([one.longest.start for one in each])
    result = figures(each, numbers, lines)
    result["text"] = {"name": corpus.name, "part": part, "characters": len(against.ids)}
    if as_json:
        print(json.dumps({"novelty": result}))
    else:
        _show(result)


def check_sampling(*, as_json: bool, compare: bool) -> None:
    """Raises UsageError where samples are written in a form that has no place for what is found."""
    if not as_json:
        raise UsageError(
            "--novelty is for --json", "add --json, or write samples to a file: charrnn eval --novelty FILE compares it"
        )
    if compare:
        raise UsageError(
            "--compare judges samples otherwise, and --novelty does not go with it", "leave one of them out"
        )


def with_own_text(path: Path, loaded: Checkpoint) -> Compare:
    """Returns a function that compares a sample with the text that the run was trained on; `path` is the checkpoint's.

    It gives the figures of one sample, ready for JSON, and reads the whole text each time.
    """
    from charrnn.cli.own_text import own_text
    from charrnn.evaluation.novelty import novelty

    corpus = own_text(path, loaded)
    against = _against(corpus, loaded, "train")

    def compare(text: str) -> dict[str, Any]:
        (one,), _ = novelty([("", text)], against.ids, corpus.vocabulary)
        (line,) = against.line_numbers([one.longest.start])
        return {key: value for key, value in _numbers(one, line).items() if key not in ("name", "characters")}

    return compare


@dataclass(frozen=True, slots=True)
class _Against:
    """What samples are compared with: a part of a text."""

    corpus: Corpus
    ids: TextIds
    """The ids of the part; of documents, those alone that are in it."""
    documents: Documents | None = None
    """Where these documents stand in the whole text; None where the part is made of none."""
    held_out: HeldOut | None = None
    """What of the whole text is not in the part, where that is known."""

    def line_numbers(self, places: Sequence[int]) -> list[int]:
        """Returns the number, from 1, of the line, or of the document, in which each place of the part lies: the whole
        text's where it is known where the documents stand in that, and else the part's own."""
        from charrnn.evaluation.novelty import line_numbers

        if self.held_out is not None:
            body = len(self.corpus) - self.corpus.separate_validation
            return line_numbers(self.corpus.ids, self.held_out.places(places, body), self.corpus.vocabulary)
        numbers = line_numbers(self.ids, places, self.corpus.vocabulary)
        if self.documents is None:
            return numbers
        begins = [int(self.documents.begins[max(0, number - 1)]) for number in numbers]
        return line_numbers(self.corpus.ids, begins, self.corpus.vocabulary)


def _against(corpus: Corpus, loaded: Checkpoint, part: _Part) -> _Against:
    """Returns a part of a text, cut as the run of a checkpoint cut its own, or with "all" the whole text."""
    from charrnn.checkpoints.lineage import parts_as

    if part == "all":
        return _Against(corpus, corpus.ids)
    parts = parts_as(loaded, corpus)
    if part == "train":
        return _Against(corpus, parts.part(part), parts.documents, parts.held_out)
    return _Against(corpus, parts.part(part))


def figures(each: Sequence[Novelty], numbers: Sequence[int], lines: LineTally) -> dict[str, Any]:
    """Returns what was found of samples, each with the number of the line where its longest stretch stands, as JSON has
    it."""
    listed = [_numbers(one, line) for one, line in zip(each, numbers, strict=True)]
    longest = max(listed, key=lambda one: int(one["longest"]["characters"]))
    ngrams = each[0].ngrams
    return {
        "characters": sum(one.characters for one in each),
        "longest": {"sample": longest["name"], **longest["longest"]},
        "ngrams": {
            str(n): _share(sum(one.found[n] for one in each), sum(one.ngrams[n] for one in each)) for n in ngrams
        },
        "copies": sum(one.is_copy for one in each),
        "lines": {
            "lines": lines.lines,
            "different": lines.different,
            "copied": lines.copied,
            "new": lines.new,
            "copied_share": _share(lines.copied, lines.different),
        },
        "samples": listed,
    }


def _numbers(one: Novelty, line: int) -> dict[str, Any]:
    return {
        "name": one.name,
        "characters": one.characters,
        "longest": {
            "characters": len(one.longest),
            "text": one.longest.text,
            "line": line if len(one.longest) else None,
        },
        "ngrams": {str(n): _share(one.found[n], one.ngrams[n]) for n in one.ngrams},
        "is_copy": one.is_copy,
    }


def _share(some: int, whole: int) -> float | None:
    """Returns a share with six decimals; None of nothing."""
    return round(some / whole, 6) if whole else None


def _show(result: Mapping[str, Any]) -> None:
    from charrnn.cli.output import print_pieces
    from charrnn.display.safe import visible
    from charrnn.display.table import Columns, Row

    samples, lines = result["samples"], result["lines"]
    shown = samples
    if len(samples) > _MOST_ROWS:
        shown = sorted(samples, key=lambda one: -int(one["longest"]["characters"]))[:_MOST_ROWS]
    rows = [Row(_cells(visible(one["name"], kept=""), one)) for one in shown]
    if len(samples) > 1:
        rows.append(Row(_cells("all", result), "bold"))
    names = ("sample", "characters", "longest", "line", *(f"{n}-grams" for n in result["ngrams"]))
    print_pieces([Columns(names, rows, (0,))])
    if len(shown) < len(samples):
        print(f"These are the {len(shown)} of {len(samples):,} samples with the longest copied stretches.")
    print()
    text, longest = result["text"], result["longest"]
    what = {"all": "the text", "train": "the training text"}.get(text["part"], f"the {text['part']} part")
    print(f"Compared with {what} {visible(text['name'], kept='')}, {count(text['characters'], 'character')}.")
    if longest["characters"]:
        stretch = shortened(longest["text"], _SHOWN).replace("\n", "\u21b5")
        print(f"The longest stretch that stands there has {count(longest['characters'], 'character')},")
        print(f"in line {longest['line']:,}: {visible(stretch, kept='')}")
    if result["copies"]:
        print(f"{result['copies']:,} of {count(len(samples), 'sample')} stand there as a whole.")
    if lines["lines"] > 1:
        share = f" ({100 * lines['copied_share']:.1f} %)" if lines["copied"] else ""
        different = f"{count(lines['lines'], 'line')} {lines['different']:,} are different"
        print(f"Of {different}. Of these {lines['copied']:,}{share}")
        print(f"stand there as whole lines, and {lines['new']:,} are new.")


def _cells(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    longest = one["longest"]
    shares = ("" if share is None else f"{100 * share:.1f} %" for share in one["ngrams"].values())
    line = "" if longest["line"] is None else f"{longest['line']:,}"
    return (name, f"{one['characters']:,}", f"{longest['characters']:,}", line, *shares)
