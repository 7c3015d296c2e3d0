"""The quality that a recipe reaches on a corpus, as one line of JSON that says how it was made.

    python -m tests.benchmarks.quality --corpus FILE_OR_FOLDER_OR_NAME --preset awd --minutes 10
    python -m tests.benchmarks.quality --train F --validation F --test F --spaced --preset awd --dynamic
    python -m tests.benchmarks.quality --corpus FILE --steps 500 -- --layers 2 --hidden 512
    python -m tests.benchmarks.quality --markdown RECORD

The first form trains with the real command, in a folder that is kept: the same line again resumes the run, or finds it
finished, and scores it anew. Then the real `charrnn eval` scores the validation and the test part, each streamed and in
windows of 256 characters that start from the zero state. --dynamic scores the test part by dynamic evaluation as well,
its settings searched on the validation part. What follows -- goes to `charrnn train` as it is.

A corpus in one piece is cut by --validation-fraction and --test-fraction (of a named corpus as is customary). One that
comes in three files is read as it stands, so that each line end is a symbol. --spaced is for files in which symbols
stand apart by spaces, as in the Penn Treebank's for characters: they are joined, and a line's end is one more symbol.

--lineends gives beside the streamed figures those of the same text with CR LF for each LF, under a model that charges
the CR what the LF was charged and the LF after it nothing: nats a character times N / (N + line feeds), N characters.
No such model was run; the figure is for comparing with those that are published for texts with CR LF.

Knows what is run and what is kept of it. Refuses to know how the command does it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import Run
from charrnn.cli import texts as text_arguments
from charrnn.settings.presets import PRESETS
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Ids, Vocabulary
from tests.benchmarks.command import ROOT

CONTEXT = 256
PIECE = 1 << 20
LINE_FEED = 10

Row = dict[str, Any]
Part = Literal["validation", "test"]
Charrnn = Callable[..., str]
"""Runs `charrnn` with these words; gives what it wrote to stdout."""


@dataclass(frozen=True, slots=True)
class Text:
    """A corpus in one piece, or in three files."""

    corpus: str
    """What is trained on: all of it, or the first of the three."""
    validation: str | None = None
    test: str | None = None

    def of_training(self) -> list[str]:
        """What `charrnn train` is told."""
        return [self.corpus, *(["--validation", self.validation] if self.validation else [])]

    def of(self, part: Part) -> list[str]:
        """What `charrnn eval` is told to score it."""
        if self.validation is None:
            return [self.corpus, "--split", part]
        own = {"validation": self.validation, "test": self.test}[part]
        assert own is not None
        return [own]

    def of_dynamic(self) -> list[str]:
        """The test part, with the texts for statistics and for the search."""
        other = ["--statistics", self.corpus, "--tune-on", self.validation] if self.validation else []
        return [*self.of("test"), "--dynamic", "rms", "--tune", *other]


def charrnn(*words: str) -> str:
    """The command in a process of its own; what it says to stderr is shown."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *words],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"charrnn {shlex.join(words)}: exit status {done.returncode}")
    return done.stdout


def joined(spaced: str) -> str:
    """Lines of symbols apart by spaces, ` a b _ c `, as lines of characters: `ab_c`. Raises SystemExit for words."""
    lines = [line.split() for line in spaced.splitlines()]
    word = next((symbol for line in lines for symbol in line if len(symbol) > 1), None)
    if word is not None:
        raise SystemExit(f"--spaced: {word!r} is not a single character: these are words, not symbols")
    return "".join("".join(line) + "\n" for line in lines)


def described(ids: Ids, vocabulary: Vocabulary) -> Row:
    """Characters, line feeds after the first character, and sha256 in UTF-8 (in byte mode of the bytes)."""
    digest, feeds = hashlib.sha256(), 0
    for start in range(0, len(ids), PIECE):
        points = vocabulary.code_points[ids[start : start + PIECE]]
        feeds += int((points == LINE_FEED).sum()) - int(start == 0 and points[0] == LINE_FEED)
        if vocabulary.kind == "bytes":
            digest.update(points.astype(np.uint8).tobytes())
        else:
            digest.update(points.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8"))
    return {"characters": len(ids), "line_feeds": feeds, "sha256": digest.hexdigest()}


def parts_of(text: Text, trained: Checkpoint) -> dict[str, Row]:
    """What the run read as train, validation and test part; those that are empty are left out."""

    def read(*arguments: str) -> Corpus:
        texts = text_arguments.find(arguments, glob=None, report=lambda *_: None, config=trained.data)
        return text_arguments.load(texts, trained.data, quiet=True)

    corpus = read(text.corpus)
    if text.validation is None:
        cut = corpus.split(trained.data)
        found = {name: (getattr(cut, name), corpus.vocabulary) for name in ("train", "validation", "test")}
    else:
        files = {"train": corpus, "validation": read(text.validation)}
        if text.test is not None:
            files["test"] = read(text.test)
        found = {name: (file.ids, file.vocabulary) for name, file in files.items()}
    return {name: described(ids, vocabulary) for name, (ids, vocabulary) in found.items() if len(ids)}


def with_returns(nats: float, characters: int, feeds: int) -> float:
    """Nats a character of the text with CR LF for each of its `feeds` line feeds, the LF after the CR for nothing."""
    return nats * characters / (characters + feeds)


def _both(nats: float) -> Row:
    return {"nats": nats, "bits": nats / math.log(2)}


def score(run: Charrnn, text: Text, part: Part, words: list[str], feeds: int | None) -> Row:
    """The part streamed and windowed; with `feeds` also streamed under CR LF."""
    row: Row = {}
    for protocol, more in (("streamed", []), ("windowed", ["--context", str(CONTEXT)])):
        found = json.loads(run("eval", *text.of(part), *words, "--protocol", protocol, *more, "--json"))
        row[protocol] = {**_both(found["nats_per_character"]), "characters": found["characters"]}
        row[protocol] |= {"context": CONTEXT} if more else {}
    if feeds is not None:
        streamed = row["streamed"]
        row["with CR LF"] = _both(with_returns(streamed["nats"], streamed["characters"], feeds))
    return row


def score_dynamic(run: Charrnn, text: Text, words: list[str], feeds: int | None) -> Row:
    """The test part by dynamic evaluation: figures, the settings that the search found, seconds of the command."""
    began = time.monotonic()
    result = json.loads(run("eval", *text.of_dynamic(), *words, "--json"))
    found, tuning = result["dynamic"], result["tuning"]["characters"]
    names = ("rule", "segment", "learning_rate", "prior", "epsilon", "temperature")
    row = {**_both(found["nats_per_character"]), "seconds": time.monotonic() - began, "tuned on": tuning}
    row["settings"] = {name: found[name] for name in names if name in found}
    row["static"] = {**_both(result["static"]["nats_per_character"]), "temperature": result["static"]["temperature"]}
    if feeds is not None:
        row["with CR LF"] = _both(with_returns(row["nats"], result["characters"], feeds))
    return row


def machine(environment: Row) -> str:
    """The GPU's name, or the processor's and its threads."""
    from tests.benchmarks.training import cpu_name

    threads = environment.get("threads") or environment["most_threads"]
    return environment.get("gpu") or f"{cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def trained_row(last: Checkpoint) -> Row:
    """What a run's last checkpoint tells: settings, size, how much was read in how long, and on what."""
    progress, environment = last.progress, last.environment
    losses = [nats for _, nats, _ in progress["history"] if nats is not None]
    return {
        "model": last.model.to_dict(),
        "training": last.training["training"],
        "budget": {unit: amount for unit, amount in last.training["budget"].items() if amount is not None},
        "parameters": sum(array.size for array in last.parameters.values()),
        "steps": progress["step"],
        "characters": progress["characters"],
        "epochs": progress["epoch"],
        "seconds": progress["seconds"],
        "device": machine(environment),
        "precision": environment["precision"],
        "torch": environment["torch"],
        "train nats": losses[-1] if losses else None,
        "best step": progress["best_step"],
    }


def measure(options: argparse.Namespace, run: Charrnn = charrnn) -> Row:
    """Trains, scores, and says all of it."""
    text = Text(options.corpus or options.train, options.validation, options.test)
    out = Path(options.out or f"checkpoints/{options.name}")
    if options.spaced:
        text = _respelled(text, out.with_name(f"{out.name}-texts"))
    own = ["--device", options.device, *([] if options.threads is None else ["--threads", str(options.threads)])]
    words = [*(["--preset", options.preset] if options.preset else []), *own, *options.more]
    for name in ("minutes", "epochs", "steps", "validation_fraction", "test_fraction"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name.replace('_', '-')}", f"{value:g}"]
    if options.corpus is not None and "--held-out" not in options.more:  # as in papers
        words += ["--held-out", "end"]
    words = ["train", *text.of_training(), "--out", str(out), "--sample-every", "0", *words]
    run(*words)
    last = checkpoints.load(Run(out).last, with_state=True)
    parts = parts_of(text, last)
    row: Row = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "name": options.name, "preset": options.preset}
    row["command"] = shlex.join(["charrnn", *words])
    row["split"] = "files" if text.validation else _shares(last.data.validation_fraction, last.data.test_fraction)
    row |= {"parts": parts, **trained_row(last)}
    scoring = ["--checkpoint", str(out), *own]
    sections: tuple[Part, ...] = ("validation", "test")
    for part in sections:
        if part in parts:
            feeds = parts[part]["line_feeds"] if options.lineends else None
            row[part] = score(run, text, part, scoring, feeds)
            if part == "test" and options.dynamic:
                tuning = [] if options.tune_length is None else ["--tune-length", str(options.tune_length)]
                row[part]["dynamic"] = score_dynamic(run, text, [*scoring, *tuning], feeds)
    return row


def _shares(validation: float, test: float) -> str:
    """`90 / 5 / 5`."""
    return " / ".join(f"{100 * share:.4g}" for share in (1 - validation - test, validation, test))


def _respelled(text: Text, folder: Path) -> Text:
    """The three files with their symbols joined, in `folder`; written only where they change."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, file in (("train", text.corpus), ("validation", text.validation), ("test", text.test)):
        path, content = folder / f"{name}.txt", joined(Path(str(file)).read_text("utf-8"))
        if not path.exists() or path.read_text("utf-8") != content:
            path.write_text(content, "utf-8", newline="\n")
        written.append(str(path))
    return Text(*written)


def markdown(rows: Iterable[Row]) -> str:
    """A table of records: what was trained on what and for how long, and bits per character (nats)."""
    head = "| corpus | model | trained | validation | test | test, windows of 256 | test, dynamic | date |\n"
    return head + "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n" + "".join(map(_line, rows))


def _line(row: Row) -> str:
    test, train = row.get("test", {}), row["parts"]["train"]
    corpus = f"{row['name']} ({row['split']}; train {train['characters']:,}, sha256 {train['sha256'][:12]})"
    size = f"{row['parameters'] / 1e6:.3g} million parameters"
    model = f"`--preset {row['preset']}`, {size}" if row["preset"] else size
    took = f"{row['epochs']:.3g} epochs in {row['seconds'] / 60:.3g} min on {row['device']}"
    validation, dynamic = row.get("validation", {}), test.get("dynamic")
    figures = [
        _figure(validation.get("streamed"), validation.get("with CR LF")),
        _figure(test.get("streamed"), test.get("with CR LF")),
        _figure(test.get("windowed")),
        _figure(dynamic, (dynamic or {}).get("with CR LF")),
    ]
    return f"| {' | '.join([corpus, model, took, *figures, row['date']])} |\n"


def _figure(found: Row | None, with_returns: Row | None = None) -> str:
    if found is None:
        return ""
    also = f"; with CR LF {with_returns['bits']:.4f} ({with_returns['nats']:.4f})" if with_returns else ""
    return f"{found['bits']:.4f} ({found['nats']:.4f}){also}"


def parsed(words: list[str]) -> argparse.Namespace:
    """The options; `more` is what follows --."""
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", metavar="TEXT", help="a file, a folder or a corpus known by name")
    for part in ("train", "validation", "test"):
        add(f"--{part}", metavar="FILE", help="one of three files, in the place of --corpus")
    add("--spaced", action="store_true", help="the three files' symbols stand apart by spaces")
    add("--validation-fraction", type=float, help="of --corpus (default: as train's)")
    add("--test-fraction", type=float, help="of --corpus (default: as train's)")
    add("--preset", choices=PRESETS)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--epochs", type=float)
    budget.add_argument("--steps", type=int)
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--threads", type=int)
    add("--dynamic", action="store_true", help="dynamic evaluation of the test part too, searched on validation")
    add("--tune-length", type=int, help="characters of each trial of that search (default: as eval's)")
    add("--lineends", action="store_true", help="also what the text would cost with CR LF")
    add("--name", help="of the corpus in the record (default: its file's, or the test file's folder's)")
    add("--out", metavar="DIR", help="the run's folder (default: checkpoints/NAME-PRESET)")
    add("--record", type=Path, metavar="FILE", help="append the line to this file as well")
    add("--markdown", type=Path, metavar="FILE", help="print the table of a record, and do nothing else")
    options = parser.parse_args(words[:cut])
    options.more = words[cut + 1 :]
    files = [options.train, options.validation, options.test]
    if options.markdown is None:
        if bool(options.corpus) == any(files) or (any(files) and not all(files)):
            parser.error("give --corpus, or --train, --validation and --test")
        if options.spaced and options.corpus:
            parser.error("--spaced is for --train, --validation and --test")
        if options.corpus is None and (options.validation_fraction or options.test_fraction) is not None:
            parser.error("three files are not cut: leave the fractions out")
        options.name = options.name or Path(options.corpus or Path(options.test).absolute().parent).stem
        options.out = options.out or f"checkpoints/{options.name}-{options.preset or 'quality'}"
    return options


def main(words: list[str] | None = None, run: Charrnn = charrnn) -> None:
    """Prints one line of JSON, or the table of many."""
    options = parsed(sys.argv[1:] if words is None else words)
    if options.markdown is not None:
        print(markdown(map(json.loads, options.markdown.read_text("utf-8").splitlines())), end="")
        return
    line = json.dumps(measure(options, run), ensure_ascii=False)
    if options.record is not None:
        with open(options.record, "a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
