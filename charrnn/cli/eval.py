"""`charrnn eval`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charrnn.cli import details as beside
from charrnn.cli import dynamic, versus
from charrnn.cli import ngrams as counting
from charrnn.cli import novelty as copying
from charrnn.cli.options import CHECKPOINTS, complete_texts, with_options
from charrnn.errors import UsageError, WeightsTooLarge
from charrnn.settings.checks import COUNT, FLAG, TEXT, one_of, whole
from charrnn.settings.choices import DecodeErrors, SplitName, UnknownPolicy
from charrnn.settings.fields import Record, setting
from charrnn.settings.launch import Computing
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.text.corpus import Corpus

_DEFAULT_CONTEXT = 256
_text = partial(setting, panel="Text")
_protocol = partial(setting, panel="Protocol")
_run = partial(setting, panel="Run")
_WHAT_TO_NAME = ("name a file, a folder or a corpus, such as charrnn eval stdlib, or - for standard input",)
_Protocol = Literal["streamed", "windowed", "lines"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring(Record):
    """What is scored, and how."""

    split: SplitName = _text("all", one_of(SplitName), "--split", level="everyday")
    """Score only this part of the text, cut as the run cut its corpus."""
    unknown: UnknownPolicy = _text("error", one_of(UnknownPolicy), "--unknown", level="everyday")
    """What to do with characters the model does not know: error, skip (they are not fed to the model), or replace (the
    nearest is fed), with each counted and charged 20.1 bits, the price of any character of Unicode."""
    glob: str | None = _text(None, TEXT, "--glob", metavar="PATTERN")
    """Which files of a folder to read, by name."""
    encoding: str | None = _text(None, TEXT, "--encoding", shown="as in training")
    """Encoding of the text."""
    encoding_errors: DecodeErrors | None = _text(
        None, one_of(DecodeErrors), "--encoding-errors", shown="as in training"
    )
    """What to do with bytes that are not valid in the encoding: strict (an error) or replace (by U+FFFD)."""
    protocol: _Protocol = _protocol("streamed", one_of(_Protocol), "--protocol", level="everyday")
    """How the text is read: streamed (the state is carried through all of it, as recurrent models are compared),
    windowed (in windows of --context characters, each from the zero state and its first one not scored, as
    transformers are), or lines (each by itself, after a line end that is read from the zero state)."""
    context: int | None = _protocol(None, whole(2), "--context", shown=f"{_DEFAULT_CONTEXT}")
    """Characters in a window of --protocol windowed (nanoGPT's block of 256 scores 256 characters: 257)."""
    ngrams: int | None = _protocol(None, whole(0, 100), "--ngrams", metavar="CHARACTERS")
    """With --split, the longest context of n-gram models (interpolated modified Kneser-Ney) to score beside the model,
    counted on the training part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work(Computing):
    """How the work is done, and what is printed."""

    window: int = _run(128, COUNT, "--window")
    """Characters scored at a time, which changes memory, not the number."""
    lanes: int | None = _run(None, COUNT, "--lanes", shown="by length, at most 64")
    """Parts of the text scored side by side, each but the first after 1,024 characters before it, unscored (1 is a
    single stream), or under --protocol windowed and lines, windows or lines side by side."""
    as_json: bool = _run(False, FLAG, "--json", level="everyday")
    """Print JSON."""


def _about_text(corpus: Corpus, loaded: Checkpoint, split: SplitName) -> str | None:
    """Returns what to know about a score on text that the model was trained on, or on a part of another text."""
    is_own = corpus.sha256 == loaded.corpus["sha256"]
    if is_own and split in ("all", "train"):
        return (
            "the model was trained on this text, which makes the score too good: --split validation scores the part "
            "that was held out"
        )
    if not is_own and split != "all":
        return f"this is not the run's own text: its {split} part is cut where the run would have cut it"
    return None


@with_options()
def evaluate(
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, - for standard input, or a corpus known by name.",
            metavar="TEXT...",
            show_default=False,
            autocompletion=complete_texts,
        ),
    ] = None,
    checkpoint: Annotated[list[Path] | None, CHECKPOINTS] = None,
    *,
    options: Scoring,
    rule: Annotated[dict[str, Any], dynamic.DynamicRule],
    adapting: dynamic.Adapting,
    details: beside.Details,
    samples: Annotated[list[str] | None, copying.NOVELTY] = None,
    work: Work,
) -> None:
    """Bits per character of a model on a text: state carried throughout, every character but the first scored once.

    \b
    charrnn eval held_out.txt
    charrnn eval tinyshakespeare --split validation --json
    charrnn eval held_out.txt -c checkpoints/a -c checkpoints/b
    charrnn eval corpus.txt --split test --dynamic rms --tune
    charrnn eval corpus.txt --split test --ngrams 9
    charrnn eval --novelty samples.txt
    """
    from dataclasses import replace

    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli import texts as text_arguments
    from charrnn.cli.chosen import say_chosen
    from charrnn.display.notice import say
    from charrnn.display.progress import WorkDisplay

    is_windowed = options.protocol == "windowed"
    if options.context is not None and not is_windowed:
        raise UsageError("--context is for --protocol windowed", "add --protocol windowed, or leave --context out")
    counting.check(longest=options.ngrams, split=options.split, is_streamed=options.protocol == "streamed")
    asked = dynamic.Adaptation.of(rule, adapting, protocol=options.protocol)
    details.check(protocol=options.protocol, is_plain=asked.is_plain)
    text = text or []
    if not (text or samples):
        raise UsageError("charrnn eval needs TEXT...", *_WHAT_TO_NAME)
    if samples:
        copying.check(asked.is_plain, {**details.flags(), "--ngrams": options.ngrams is not None})
    if options.glob is None:  # before another run is looked for than the one named by mistake
        text_arguments.refuse_runs(text)
    names = [str(path) for path in checkpoint or []]
    are_several = len(names) > 1
    if are_several:
        beyond = {"--ngrams": options.ngrams is not None, "--dynamic, --tune or --temperature": not asked.is_plain}
        beyond |= {"--novelty": bool(samples), "--protocol lines": options.protocol == "lines", **details.flags()}
        versus.check(checkpoint or [], beyond)
    paths = [find_checkpoint(path) for path in checkpoint] if checkpoint else [find_checkpoint(None)]
    every = [checkpoints.load(path) for path in paths]
    loaded = every[0]
    if not names:
        say_chosen(paths[0], loaded)
    for one in every:
        text_arguments.check_split(options.split, one)
    decoding: dict[str, Any] = {"encoding": options.encoding, "encoding_errors": options.encoding_errors}
    decoding = {name: value for name, value in decoding.items() if value is not None}
    if are_several:
        versus.check_reading(names, every, set(decoding))
    data = replace(loaded.data, **decoding)

    def read(*arguments: str) -> Corpus:
        with WorkDisplay() as bar:
            texts = text_arguments.find(arguments, glob=options.glob, report=bar, config=data)
        for notice in texts.notices:
            say(f"note: {notice}")
        return text_arguments.load_for(texts, loaded, data)

    if samples:
        copying.run(samples, text, paths[0], loaded, read, split=options.split, as_json=work.as_json)
        return
    corpus = read(*text)
    for one in every:
        if (notice := _about_text(corpus, one, options.split)) is not None:
            say(f"note: {notice}")
            break
    training, tuning = dynamic.find_parts(asked, dynamic.Part(corpus, options.split), loaded, read)

    # Only now torch: what can be wrong with the checkpoint and the text has been said at once.
    from charrnn.evaluation.report import ForeignText, Static
    from charrnn.network.device import choose_device, out_of_memory_explained, passed_over, prepare

    foreigns = [ForeignText.of(corpus, one, options.split, options.unknown) for one in every]
    foreign = foreigns[0]
    if are_several:
        versus.check_same(names, foreigns)
    chosen = choose_device(work.device)
    context = (options.context or _DEFAULT_CONTEXT) if is_windowed else None
    how = Static(device=chosen, window=work.window, lanes=work.lanes, context=context)
    if (not_taken := passed_over(work.device)) is not None:
        say(f"note: {not_taken}")
    prepare(chosen, work.threads)
    with out_of_memory_explained("fewer --lanes or a smaller --window need less"), WorkDisplay() as bar:
        if are_several:
            compared = versus.score(every, foreigns, names, how, bar)
        elif asked.is_plain:
            scored = beside.scored(details, loaded, corpus, foreign, how, options.protocol, bar)
            result = scored.result
        else:
            from charrnn.evaluation.compare import compare

            def ids_of(part: dynamic.Part | None) -> Any:
                return None if part is None else ForeignText.of(part.corpus, loaded, part.split, options.unknown).ids

            plan = dynamic.plan(asked, ids_of(training), ids_of(tuning))
            result = compare(loaded, foreign, plan, how, progress=bar, tried=dynamic.say_trial)
    if are_several:
        versus.show(names, *compared, as_json=work.as_json)
        return
    if not math.isfinite(result["nats_per_character"]):
        raise WeightsTooLarge("the score is")
    if options.ngrams is not None:
        result["ngrams"] = counting.score(corpus, loaded, options.split, options.unknown, options.ngrams)
    if asked.is_plain:
        beside.add(details, scored, paths[0], loaded, options.split, options.unknown)
    _show(result, as_json=work.as_json)


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    print(counting.figures(result))
    print(f"{result['bits_per_byte']:.4f} bits per byte, perplexity {result['perplexity']:.4f}")
    unknown = result["unknown_characters"]
    charged = f", of which {unknown:,} unknown and charged 20.1 bits each" if unknown else ""
    ends = f", the ends of {count(result['documents'], 'document')} included" if "documents" in result else ""
    print(f"over {count(result['characters'], 'character')}, {count(result['bytes'], 'byte')}{ends}{charged}")
    if result["protocol"] == "windowed":
        print(f"in {count(result['windows'], 'window')} of {result['context']:,}, each from the zero state")
    if result["protocol"] == "lines":
        print(f"in {count(result['lines_read'], 'line')}, each by itself from the zero state")
    if "ngrams" in result:
        counting.show(result)
    if "static" in result:
        dynamic.show(result, result.get("tuning", {}).get("characters"))
    beside.show(result)
