"""`charrnn inspect` without a text: the summary of a run, and the curves of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.cli.runs import arrays_of
from charrnn.cli.view import Given, Result, View

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject


def _measure(subject: Subject, _asked: Given) -> Result:
    from charrnn.checkpoints.curves import curves_of
    from charrnn.checkpoints.folder import METRICS
    from charrnn.checkpoints.metrics import read_metrics
    from charrnn.display.summary import parameters_by_part, summary

    loaded, path = subject.loaded, subject.path
    metrics = read_metrics(path.with_name(METRICS))
    counts = parameters_by_part({name: array.shape for name, array in loaded.parameters.items()})
    return Result(
        subject,
        "summary",
        lambda _: summary(str(path), loaded, metrics),
        lambda: {
            "parameters": counts,
            **{name: value for name, value in loaded.metadata().items() if name != "training"},
            "curves": arrays_of(curves_of(metrics, loaded.progress)),
        },
    )


VIEW = View("Text", None, _measure, needs="run", shows="What a run is, and the curves of its training.")
