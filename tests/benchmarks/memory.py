"""Which recurrent networks learn to remember: the copy and the adding problem of the lecture notes, for every kind.

    python -m tests.benchmarks.memory [--task copy|adding|all] [--length 200,500] [--models "NAME;..."] [--seed 1]
                                      [--steps N] [--seconds S] [--record FILE] [--markdown] [--svg FILE] [--html FILE]

`memory_tasks.py` says what is read and asked. Each network is one layer of charrnn's own cells, from its own initial
weights and the zero state, with a linear read-out, trained on sequences drawn anew for every step by charrnn's own
optimizers; all have about as many parameters. `MODELS` holds their settings, of which small trials decided
(experiments.md). A run ends after its steps, or its seconds where those are given, or once it is learnt: its mean loss
over a hundredth of its steps is below a twentieth of what can be had without memory.

One line of JSON a run goes to --record as soon as it is known; runs that stand there are not made again. The table and
the plots are of the runs asked for. Figures are of losses in training, each before its update, as means over a
hundredth of the run. Seconds are of the processor, one thread; `beside lstm` is seconds a step, with all that a step
needs, over the lstm's at the same task.

Knows networks and how they are trained. Refuses to know what is read and asked.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from charrnn.display.chart_svg import as_svg
from charrnn.display.curve import Chart, Line
from charrnn.display.palette import glyph
from charrnn.display.webpage import escape, frame
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.optimizers.updater import Updater
from charrnn.training.recipe import completed_training
from tests.benchmarks.memory_curvature import TaskObjective
from tests.benchmarks.memory_tasks import TASKS, Task

LENGTHS = (200, 500)
LEARNT = 0.05
PARTS = 100  # of a run, for means
ROW = 50  # glyphs of a run
HIGHEST = 1.25  # times the baseline: what is drawn above it is drawn there
CHRONO = "length of the task"  # stands for its number


@dataclass(frozen=True, slots=True)
class Model:
    """A network and how it is trained."""

    hidden: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of ModelConfig; a chrono_range of `CHRONO` is as long as the task."""
    copy: Mapping[str, Any] = field(default_factory=dict)
    """Of TrainingConfig, for the copy problem, beside `TRAINING`."""
    adding: Mapping[str, Any] = field(default_factory=dict)
    """The same for the adding problem."""
    turning: float = 1.0
    """Learning rate of what orthogonal matrices are made of, as a share of the others' (Lezcano-Casado &
    Martinez-Rubio 2019, arXiv 1901.08428, have a tenth in their experiments)."""
    colour: str = "cyan"


TRAINING: dict[str, Any] = {
    "optimizer": "adamw", "cautious": False, "weight_decay": 0.0, "beta2": 0.99, "clip_norm": 1.0,
    "learning_rate": 1e-3, "batch_size": 20,
}  # fmt: skip
"""What holds where a model says nothing; rates are constant."""
STEPS = {("copy", 200): 3000, ("copy", 500): 1500, ("adding", 200): 3000, ("adding", 500): 3500}

_FASTER = {"learning_rate": 2e-3}
_SGD = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01}
_SEARCHED = {**completed_training({"optimizer": "hessian-free"}), "batch_size": 512}
_HELD = {**_SEARCHED, "structural_damping": 10.0}
MODELS: dict[str, Model] = {
    "rnn": Model(128, {"cell": "rnn"}, colour="#888888"),
    "irnn": Model(
        128, {"cell": "rnn", "activation": "relu", "init": "identity"},
        copy={"learning_rate": 1e-4}, adding={"learning_rate": 1e-4}, colour="#b07d2b",
    ),
    "rnn, orthogonal init": Model(
        128, {"cell": "rnn", "init": "orthogonal"},
        copy={"learning_rate": 2e-4}, adding={"learning_rate": 2e-4}, colour="#2f6fb0",
    ),
    "rnn --orthogonal": Model(128, {"cell": "rnn", "orthogonal": True}, turning=0.1, colour="#3f9fd5"),
    "rnn --orthogonal, modrelu": Model(
        128, {"cell": "rnn", "orthogonal": True, "activation": "modrelu"},
        copy={"clip_norm": 0.0}, turning=0.1, colour="#6a3fb5",
    ),
    "urnn": Model(
        256, {"cell": "urnn"},
        copy={"optimizer": "rmsprop", "momentum": 0.0, "beta2": 0.9},
        adding={"optimizer": "rmsprop", "momentum": 0.0, "beta2": 0.9}, colour="#9a8400",
    ),
    "lstm": Model(64, {"cell": "lstm"}, copy=_FASTER, adding=_FASTER, colour="#c2456f"),
    "lstm, chrono": Model(
        64, {"cell": "lstm", "init": "chrono", "chrono_range": CHRONO}, copy=_FASTER, adding=_FASTER, colour="#e66101"
    ),
    "gru": Model(74, {"cell": "gru"}, copy=_FASTER, adding=_FASTER, colour="#5e8c31"),
    "gru, chrono": Model(
        74, {"cell": "gru", "init": "chrono", "chrono_range": CHRONO}, copy=_FASTER, adding=_FASTER, colour="#12908e"
    ),
    "rnn, sgd": Model(128, {"cell": "rnn"}, copy=_SGD, adding=_SGD, colour="#444444"),
    "rnn, orthogonal init, sgd": Model(
        128, {"cell": "rnn", "init": "orthogonal"}, copy=_SGD, adding=_SGD, colour="#70543e"
    ),
    "rnn, hessian-free": Model(128, {"cell": "rnn"}, copy=_HELD, adding=_SEARCHED, colour="#d4537e"),
    "rnn, orthogonal init, hessian-free": Model(
        128, {"cell": "rnn", "init": "orthogonal"}, copy=_HELD, adding=_SEARCHED, colour="#993556"
    ),
}  # fmt: skip
USUAL = [name for name in MODELS if not name.endswith(("sgd", "hessian-free"))]
"""The models that are trained unless others are named; the others are there to compare optimizers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a run found."""

    task: str
    length: int
    model: str
    seed: int
    asked: int
    """Steps that were asked for."""
    parameters: int
    steps: int
    """Steps that were made."""
    seconds: float
    points: Sequence[tuple[int, float]]
    """Steps made, and the mean loss since the point before."""

    @property
    def baseline(self) -> float:
        """The loss without memory."""
        return TASKS[self.task].baseline(self.length)

    def steps_until(self, share: float) -> int | None:
        """The first point at which the loss is below `share` of the baseline."""
        return next((step for step, loss in self.points if loss < share * self.baseline), None)


def network(task: Task, length: int, model: Model, seed: int) -> CharacterModel:
    """The network before its first step. Its embedding is not used: what is read is a vector already."""
    fields: dict[str, Any] = {name: length if value == CHRONO else value for name, value in model.fields.items()}
    config = ModelConfig(embedding_size=task.inputs, hidden_size=model.hidden, **fields)
    made = CharacterModel(config, task.outputs)
    made.initialise(torch.Generator().manual_seed(seed))
    return made


def train(name: str, task: Task, length: int, seed: int, steps: int, seconds: float = math.inf) -> Run:
    """A run of the model called `name`."""
    model = MODELS[name]
    training = TrainingConfig(**{**TRAINING, **(model.copy if task.name == "copy" else model.adding)})
    made = network(task, length, model, seed)
    arrays = {name: array for name, array in made.arrays().items() if name != "embedding"}
    skew = {name: array for name, array in arrays.items() if name.endswith("skew_hh") and model.turning != 1.0}
    rest = {name: array for name, array in arrays.items() if name not in skew}
    updaters = [(Updater(training, some), some) for some in (rest, skew) if some]
    if skew:
        updaters[1][0].set_rate(training.learning_rate * model.turning)
    numbers = torch.Generator().manual_seed(seed)
    every = max(1, steps // PARTS)
    points: list[tuple[int, float]] = []
    losses: list[float] = []
    begin = time.process_time()
    for step in range(1, steps + 1):
        x, targets = task.draw(length, training.batch_size, numbers)
        read, _, _ = made.stack(x, made.zero_state(training.batch_size))
        loss = task.loss(made.decoder(read), targets)
        for array in arrays.values():
            array.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(arrays.values(), training.clip_norm or math.inf)
        losses.append(float(loss.detach()))
        is_over = not bool(torch.isfinite(norm)) or time.process_time() - begin > seconds
        if not is_over:
            for updater, some in updaters:
                objective = TaskObjective(task, made, x, targets, training.curvature_share)
                updater.step([array.grad for array in some.values()], step, objective=objective)
        if len(losses) == every or is_over:
            points.append((step, sum(losses) / len(losses)))
            losses = []
            if is_over or points[-1][1] < LEARNT * task.baseline(length):
                break
    return Run(
        task=task.name, length=length, model=name, seed=seed, asked=steps,
        parameters=sum(array.numel() for array in arrays.values()), steps=step,
        seconds=round(time.process_time() - begin, 1), points=[(at, float(f"{mean:.4g}")) for at, mean in points],
    )  # fmt: skip


def recorded(file: Path | None) -> list[Run]:
    """The runs that stand in `file`."""
    if file is None or not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [Run(**{**line, "points": [tuple(point) for point in line["points"]]}) for line in lines]


def write(file: Path, run: Run) -> None:
    """Adds a run to `file`."""
    values = {name: getattr(run, name) for name in Run.__slots__}
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(values) + "\n")


_HEADINGS = (
    "model", "parameters", "steps", "beside lstm", "loss at the end", "of the baseline", "half after", "a tenth after",
)  # fmt: skip


def rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row of the table for each run of one task and length."""
    pace = {run.model: run.seconds / run.steps for run in runs}
    found = []
    for run in runs:
        beside = f"{pace[run.model] / pace['lstm']:.2f}" if "lstm" in pace else "-"
        half, tenth = (run.steps_until(share) for share in (0.5, 0.1))
        found.append(
            (
                run.model, f"{run.parameters:,}", f"{run.steps:,}", beside, f"{run.points[-1][1]:.4f}",
                f"{run.points[-1][1] / run.baseline:.3f}", *("never" if n is None else f"{n:,}" for n in (half, tenth)),
            )
        )  # fmt: skip
    return found


def title(run: Run) -> str:
    """Task, length and baseline in words."""
    return f"{run.task}, T = {run.length}: {run.baseline:.4f} without memory"


def table(runs: Sequence[Run]) -> str:
    """One task's runs as a table of Markdown."""
    lines = [_HEADINGS, ("---", *["---:"] * (len(_HEADINGS) - 1)), *rows(runs)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def lines_of(runs: Sequence[Run]) -> str:
    """Loss over steps in a row of glyphs for each run: full at the baseline and above, empty where all is learnt."""
    longest = max(run.asked for run in runs)
    width = max(len(run.model) for run in runs)
    drawn = []
    for run in runs:
        row = ""
        for column in range(ROW):
            low, high = column * longest / ROW, (column + 1) * longest / ROW
            here = [loss for step, loss in run.points if low < step <= high]
            row += glyph(min(1.0, sum(here) / len(here) / run.baseline)) if here else " "
        drawn.append(f"{run.model:{width}} \u2595{row}\u258f")
    return "\n".join([*drawn, f"{'':{width}}  0{longest:>{ROW - 1},} steps"])


def chart(runs: Sequence[Run]) -> Chart:
    """Loss over steps, as a share of the baseline."""
    curves = [
        Line(
            run.model,
            MODELS[run.model].colour,
            [(step, min(HIGHEST, loss / run.baseline)) for step, loss in run.points if math.isfinite(loss)],
        )
        for run in runs
    ]
    return Chart(curves, x_label="steps", y_label="loss / without memory", height=16)


def page(groups: Sequence[Sequence[Run]]) -> str:
    """The plots and tables as one self-contained page."""
    parts = []
    for runs in groups:
        heads = "".join(f"<th>{escape(name)}</th>" for name in _HEADINGS)
        cells = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(runs))
        parts.append(
            f"<h2>{escape(title(runs[0]))}</h2>\n{as_svg(chart(runs))}\n<table>\n<tr>{heads}</tr>\n{cells}\n</table>"
        )
    return frame(
        "What recurrent networks remember", "\n".join(parts), "td, th { padding: 0 .6rem; text-align: right; }"
    )


def picture(groups: Sequence[Sequence[Run]]) -> str:
    """The plots below each other as one SVG file."""
    height = 384
    parts = [
        f'<svg y="{height * number}" width="760" height="{height}"><text x="64" y="16" font-size="14" '
        f'font-family="sans-serif" font-weight="bold">{escape(title(runs[0]))}</text>'
        f'<svg y="24" width="760" height="360">{as_svg(chart(runs))}</svg></svg>'
        for number, runs in enumerate(groups)
    ]
    box = f'viewBox="0 0 760 {height * len(parts)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} style="background:#fff">\n' + "\n".join(parts) + "\n</svg>\n"


def main(words: Sequence[str] | None = None) -> None:
    """Makes the runs that are asked for and not yet recorded, then shows all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=(*TASKS, "all"), default="all")
    parser.add_argument("--length", default=",".join(map(str, LENGTHS)), help="of the task; several, by commas")
    parser.add_argument("--models", default=";".join(USUAL), help="names, by semicolons")
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of each run, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="runs are added to it as they end, and found in it")
    parser.add_argument("--markdown", action="store_true", help="tables and plots without colour")
    parser.add_argument("--svg", type=Path, help="write the plots to it")
    parser.add_argument("--html", type=Path, help="write plots and tables to it")
    given = parser.parse_args(words)
    names = [name.strip() for name in given.models.split(";")]
    if unknown := set(names) - set(MODELS):
        parser.error(f"no model is called {sorted(unknown)}; there are: {'; '.join(MODELS)}")

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    console, errors = Console(), Console(stderr=True)
    done = {(run.task, run.length, run.model, run.seed, run.asked): run for run in recorded(given.record)}
    groups = []
    for task in TASKS.values() if given.task == "all" else (TASKS[given.task],):
        for length in map(int, given.length.split(",")):
            runs = []
            for name in names:
                steps = given.steps or STEPS.get((task.name, length), 6000)
                key = task.name, length, name, given.seed, steps
                if key not in done:
                    done[key] = train(name, task, length, given.seed, steps, given.seconds)
                    if given.record:
                        write(given.record, done[key])
                    errors.print(f"{title(done[key])}; {' | '.join(rows([done[key]])[0])}", highlight=False)
                runs.append(done[key])
            groups.append(runs)
    for runs in groups:
        print(f"\n{title(runs[0])}\n\n{table(runs)}\n\n```\n{lines_of(runs)}\n```")
        if not given.markdown:
            console.print(chart(runs))
    if given.svg:
        given.svg.write_text(picture(groups), "utf-8")
    if given.html:
        given.html.write_text(page(groups), "utf-8")


if __name__ == "__main__":
    main()
