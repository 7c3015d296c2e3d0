"""Scores each line of a text by itself: from the zero state, after a line end, so that no line depends on another.

Lines of about the same length are read side by side, in lanes.

Shape letters: N ids of the text, L lines, T window, B lanes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextError
from charrnn.evaluation.bpc import Model, Proceed, as_tensor, exact_losses, logits_window, reading
from charrnn.evaluation.report import ForeignText, Progress, Static, figures
from charrnn.evaluation.score import TextScore
from charrnn.text.vocabulary import Ids, Vocabulary

LANES = 256
Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def line_losses(
    model: Model,
    ids: Ids,
    ends: Numbers,
    before: int,
    *,
    window: int,
    lanes: int | None = None,
    proceed: Proceed = lambda _done: None,
) -> Floats:
    """Returns -ln p of each id (N,), given those before it in its line.

    `ends` (L,) are the places behind the lines' ends; the id `before` is read from the zero state before each line.
    """
    starts = np.concatenate(([0], ends[:-1]))
    lengths = ends - starts
    order = np.argsort(lengths, kind="stable")
    losses, done = np.zeros(len(ids), np.float32), 0
    with reading(model):
        for first in range(0, len(order), lanes or LANES):
            some = order[first : first + (lanes or LANES)]
            begin, length = starts[some], lengths[some]
            state = model.zero_state(len(some))
            step = logits_window(model, window, len(some))
            for start in range(0, int(length.max()), step):
                offsets = np.arange(start, min(start + step, int(length.max())))[:, None]
                is_text = offsets < length
                places = np.minimum(begin + offsets, len(ids) - 1)
                given = np.where(offsets == 0, before, ids[places - 1])
                logits, state = model(as_tensor(given, model), state)
                losses[places[is_text]] = exact_losses(logits, as_tensor(ids[places], model))[is_text]
                done += int(is_text.sum())
                proceed(done)
    return losses


def figures_by_lines(
    model: Model, text: ForeignText, vocabulary: Vocabulary, how: Static, progress: Progress
) -> tuple[dict[str, Any], Floats]:
    """Returns the figures of a text whose lines are read one by one, and the loss of each character that was read.

    `vocabulary` is the text's own. Raises TextError where the model does not know line ends.
    """
    originals, ids = np.asarray(text.originals), np.asarray(text.ids)
    line_end = vocabulary.lookup("\n")[0]
    is_end = originals == line_end
    if not is_end.any():
        raise TextError("no line of the text ends in a line end that the model knows", "leave --protocol lines out")
    ends = np.flatnonzero(is_end) + 1
    before = int(ids[ends[0] - 1])
    if ends[-1] < len(ids):
        ends = np.append(ends, len(ids))
    losses = line_losses(
        model, ids, ends, before, window=how.window, lanes=how.lanes,
        proceed=lambda done: progress("scoring", done, len(ids)),
    )  # fmt: skip
    first = text.whole[:1]  # which counts here, too
    all_of_it = replace(
        text,
        bytes=text.bytes + int(text.lengths[first].sum()),
        unknown=text.unknown + int(text.is_charged[first].sum()),
    )
    known = len(ids) + int(text.is_skipped[first].sum())
    found = figures(TextScore(float(losses.sum(dtype=np.float64)), known), all_of_it)
    return found | {"protocol": "lines", "lines_read": len(ends)}, losses
