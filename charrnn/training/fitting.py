"""Weights that have learned, fitted to other characters; and a checkpoint fitted to what --change asks for.

The rows of embedding and decoder, and all that an optimizer keeps of them, belong to characters. Those of a new one are
drawn as at the start of a run, but its bias in the decoder is such that it is about as likely as it is frequent: among
logits that have learned, a new one of about 0 would be anything between impossible and certain.

Shape letters: T window, B lanes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.network.model import CharacterModel
from charrnn.network.precision import choose_precision
from charrnn.settings.config import ModelConfig
from charrnn.text.corpus import Parts
from charrnn.text.stored import TextIds
from charrnn.text.union import places
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.distributed import ALONE, World
from charrnn.training.initial_model import occurrences
from charrnn.training.learner import Learner
from charrnn.training.members import kept_members
from charrnn.training.plan import Plan
from charrnn.training.teacher import Teacher

Arrays = Mapping[str, npt.NDArray[Any]]
BY_CHARACTER = ("embedding", "decoder.weight", "decoder.bias")
"""The arrays with a row for each character."""
_WEIGHTS = ("average", "optimizer.x", "optimizer.z")
"""What is kept of an array and is made of weights; all else that is kept of it begins with zeros."""
_LANES, _WINDOW = 16, 128


def fitted(
    config: ModelConfig, seed: int, before: Vocabulary, parameters: Arrays, now: Vocabulary, text: TextIds
) -> Arrays:
    """Returns weights that were made for the characters `before` as weights for the characters `now`.

    `text` is what they will be trained on. What is new is drawn by the seed.
    """
    if before == now:
        return parameters
    model = CharacterModel(config, len(now), now.end)
    model.initialise(torch.Generator().manual_seed(seed))
    ids = places(before, now)
    arrays = {
        name: _rows(parameters[name], ids, drawn) if name in BY_CHARACTER else np.array(parameters[name])
        for name, drawn in model.numpy_arrays().items()
    }
    model.load_arrays(arrays)
    new, bias = np.flatnonzero(ids < 0), arrays["decoder.bias"]
    if len(new):
        bias[new] += _likely_as_frequent(model, new, text)
    return arrays


def first_learner(
    plan: Plan, vocabulary: Vocabulary, parts: Parts, device: torch.device, world: World = ALONE
) -> Learner:
    """Returns the learner that a run begins with: its weights are drawn, or those of a model that has learned."""
    first = None
    if plan.initial is not None:
        loaded = plan.initial.checkpoint
        seed, text = plan.training.seed, parts.part("train")
        first = fitted(plan.model, seed, loaded.vocabulary, loaded.parameters, vocabulary, text)
    taught, size, end = plan.teacher, len(vocabulary), vocabulary.end
    return Learner(
        plan.model,
        plan.training,
        size,
        device,
        end=end,
        accumulate=plan.run.accumulate,
        world=world,
        initial=first,
        teacher=None
        if taught is None
        else Teacher(
            taught.config,
            taught.members,
            size,
            device,
            lanes=plan.training.batch_size,
            end=end,
            text=parts.train,
            world=world,
            is_narrow=choose_precision(plan.training.precision, device) == "bf16",
        ),
    )


def _rows(array: npt.NDArray[Any], ids: npt.NDArray[np.int64], new: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns an array with the rows of characters at their ids now, and those of `new` for characters that are."""
    rows, is_known = new.copy(), ids >= 0
    rows[is_known] = array[ids[is_known]]
    return rows


@torch.no_grad()
def _likely_as_frequent(model: CharacterModel, new: npt.NDArray[np.int64], text: TextIds) -> npt.NDArray[np.float32]:
    """Returns what is missing in the biases of new characters, so that their mean logits make them as likely as they
    are frequent in the text."""
    window = min(_WINDOW, len(text))
    starts = np.linspace(0, len(text) - window, _LANES).astype(np.int64)
    inputs = np.stack([np.asarray(text[start : start + window]) for start in starts.tolist()], 1).astype(np.int64)
    logits = model(torch.from_numpy(inputs), model.zero_state(_LANES))[0].double().numpy()  # (T, B, V)
    known = np.delete(logits, new, 2)
    highest = known.max(2)
    normaliser = (np.log(np.exp(known - highest[..., None]).sum(2)) + highest).mean()
    frequency = (occurrences(text, model.vocabulary_size)[new] + 0.5) / (len(text) + 1)
    odds = np.log(frequency) - np.log1p(-min(frequency.sum(), 0.99))
    missing: npt.NDArray[np.float32] = normaliser + odds - logits[..., new].mean((0, 1))
    return missing.astype(np.float32)


def adapted(resume: Checkpoint, plan: Plan, vocabulary: Vocabulary, text: TextIds, learner: Learner) -> Checkpoint:
    """Returns the checkpoint of a run that goes on as `learner`, a new one with the plan's settings, can load it.

    It is as it was where the plan changes nothing. Arrays that the run has not kept so far begin as at its start, the
    average with the weights as they are. Where the text has grown, the lanes begin at other places, from the zero
    state; where the learning rate is given, it holds as it is given. Every process must call this.
    """
    if not plan.change:
        return resume
    before = resume.vocabulary
    parameters = fitted(plan.model, plan.training.seed, before, resume.parameters, vocabulary, text)
    own, state = learner.state(), dict(resume.state)
    for number, weights in enumerate(kept_members(state), 1):  # those that are finished, and the best of this one
        fit = fitted(plan.model, plan.training.seed + number, before, weights, vocabulary, text)
        state |= {f"members.{number}.{name}": array for name, array in fit.items()}
    ids = places(before, vocabulary)
    for kept, array in state.items():
        what, name = _kept_of(kept)
        if what.startswith("members"):
            continue
        if name in BY_CHARACTER and array.ndim and before != vocabulary:
            fill = parameters[name] if what in _WEIGHTS else np.zeros_like(own.get(kept, parameters[name]))
            state[kept] = _rows(array, ids, fill)
    for kept in own:
        what, name = _kept_of(kept)
        if kept not in state and what == "average":
            state[kept] = parameters[name]
        elif kept not in state or (what == "carry" and "text" in plan.change):
            state[kept] = own[kept]
    counters = dict(resume.training["counters"])
    if "lr" in plan.change.get("settings", {}):
        counters |= {"learning_rate_scale": 1.0, "rollbacks": 0}
    return replace(resume, parameters=parameters, state=state, training={**resume.training, "counters": counters})


def _kept_of(name: str) -> tuple[str, str]:
    """Returns what an array of a learner's state is, and of which array of the model: ("average", "embedding")."""
    for of in BY_CHARACTER:
        if name.endswith(f".{of}"):
            return name.removesuffix(f".{of}"), of
    what, _, of = name.partition(".")
    return what, of
