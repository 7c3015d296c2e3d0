"""Optimizers over named parameters, and their state as named arrays.

Knows torch.optim, two update rules of its own, and the names of `cells/parameters.py`. Refuses to know the schedule:
the learning rates are set from outside at each step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as fused_adamw

from charrnn.native.window import Update, find_library
from charrnn.settings.config import TrainingConfig
from charrnn.training.muon import direction_of
from charrnn.training.schedule_free import first_state, update

_PREFIX = "optimizer."
_EPSILON = 1e-8
_HUGE = 1e38  # torch refuses factors beyond a float32; a run that diverges is told so elsewhere
# Muon: cheaper than it was published, at no loss that was seen (EXPERIMENTS.md).
_EVERY = 2
_SHARE = 0.05  # of the gradient in the momentum


def make_optimizer(
    config: TrainingConfig, arrays: Mapping[str, nn.Parameter], *, is_narrow: bool = False, is_capturable: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of `config` for the arrays that learn; weight decay acts on matrices, biases are spared, and so is
    what orthogonal matrices are made of.

    muon: see `Rules`; the layers' matrices go by orthogonalised momentum, the rest by AdamW. adamw: Loshchilov & Hutter
    2019 (arXiv 1711.05101, algorithm 2). schedule-free: see `schedule_free.py`. rmsprop: Hinton's lecture 6e with
    momentum. `is_narrow` lets products be made of bfloat16 numbers; `is_capturable`, where the rule is one of the first
    three, keeps all that a step reads on the device.
    """
    layers = [a for name, a in arrays.items() if config.optimizer == "muon" and _is_layers_matrix(name, a)]
    rest = _without(arrays.values(), layers)
    # Angles are no weights: a smaller one is not a simpler one.
    spared = [a for name, a in arrays.items() if a.dim() <= 1 or name.endswith("skew_hh")]
    groups: list[dict[str, Any]] = [
        {"params": _without(rest, spared), "weight_decay": config.weight_decay},
        {"params": [a for a in rest if not _without([a], spared)], "weight_decay": 0.0},
    ]
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    if layers:
        recurrent = [a for name, a in arrays.items() if name.endswith(("weight_hh", "skew_hh"))]
        rows, hidden = recurrent[0].shape if recurrent else (0, 1)  # a urnn has no such matrix
        muon = {"rule": "muon", "ratio": config.muon_ratio, "weight_decay": config.weight_decay}
        if skew := [a for a in layers if not _without([a], spared)]:
            groups.append({"params": skew, "gates": rows // hidden, **muon, "weight_decay": 0.0})
        layers = _without(layers, skew)
        if recurrent:
            groups.append({"params": [a for a in layers if len(a) == rows], "gates": rows // hidden, **muon})
        if others := [a for a in layers if len(a) != rows]:  # which no gate has a part of
            groups.append({"params": others, "gates": 1, **muon})
    if config.optimizer == "schedule-free":
        groups = [{**group, "rule": "schedule-free"} for group in groups]
    if config.optimizer in ("adamw", "muon", "schedule-free"):
        return Rules(
            groups, lr=rate, betas=betas, cautious=config.cautious, is_narrow=is_narrow, is_capturable=is_capturable
        )
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=True)
        if config.momentum:
            # Where torch's first step is skipped for found_inf, it leaves momentum behind that nothing was written to.
            for array in arrays.values():
                optimizer.state[array]["momentum_buffer"] = torch.zeros_like(array)
        return optimizer
    return torch.optim.RMSprop(groups, lr=rate, alpha=config.beta2, momentum=config.momentum)


def _without(arrays: Iterable[nn.Parameter], others: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that are none of the others."""
    left_out = {id(other) for other in others}
    return [array for array in arrays if id(array) not in left_out]


def _is_layers_matrix(name: str, array: Tensor) -> bool:
    return name.startswith("layers.") and array.dim() == 2


class Rules(torch.optim.Optimizer):
    """AdamW, cautious if asked for, and Muon in the groups whose `rule` is "muon".

    Cautious (Liang et al. 2024, arXiv 2411.16085, algorithm 1): of an update only what has the sign of the gradient's
    step is made, scaled up for what is left out. Muon (Jordan et al. 2024): the momentum of a matrix is replaced by the
    nearest (semi-)orthogonal one, found by a few steps of a Newton-Schulz iteration; here of a quarter of a gate at a
    time and for two updates together, and scaled by 0.2 sqrt(larger side) (Liu et al. 2025, arXiv 2502.16982, eq. 4),
    so that a learning rate means the same as Adam's.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        cautious: bool,
        is_narrow: bool = False,
        is_capturable: bool = False,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "rule": "adamw", "ratio": 1.0, "gates": 1})
        self._cautious, self._is_narrow, self.is_capturable = cautious, is_narrow, is_capturable
        self.found_inf: Tensor | None = None
        """Above 0 where the gradients are not finite: then a capturable step changes nothing. (torch's name for it.)"""
        self.turn = 0
        """Which update this is; Muon's direction is found anew in every second one."""
        rate = torch.tensor(min(lr, _HUGE), device=groups[0]["params"][0].device) if is_capturable else lr
        for group in self.param_groups:
            group["lr"] = rate
            for parameter in group["params"]:
                self.state[parameter] = _first_state(group["rule"], parameter, is_capturable=is_capturable)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's own, without what is wrapped around that: it loads torch's compiler, two seconds of a start."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    @property
    def phases(self) -> int:
        """How many kinds of steps there are, which follow each other in turn."""
        return _EVERY if any(group["rule"] == "muon" for group in self.param_groups) else 1

    @property
    def phase(self) -> int:
        """Which kind of step `turn` is."""
        return self.turn % self.phases

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            chosen = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not chosen:
                continue
            if group["rule"] == "schedule-free":
                self._schedule_free(group, chosen, [parameter.grad for parameter in chosen])
            elif self.is_capturable:
                rule = self._muon_on_device if group["rule"] == "muon" else self._adamw_on_device
                rule(group, chosen, [parameter.grad for parameter in chosen])
            else:
                one_by_one = self._muon if group["rule"] == "muon" else self._adamw
                for parameter in chosen:
                    one_by_one(group, parameter, parameter.grad)
        self.turn += 1

    def _schedule_free(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        rate, states = group["lr"], [self.state[array] for array in weights]
        update(
            states, weights, self._finite(gradients), rate=rate, betas=group["betas"], epsilon=_EPSILON,
            weight_decay=group["weight_decay"], share=self._share(rate) if self.is_capturable else 1.0,
        )  # fmt: skip

    def _adamw(self, group: dict[str, Any], weights: Tensor, gradient: Tensor) -> None:
        state = self.state[weights]
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        first, second = state["exp_avg"], state["exp_avg_sq"]
        corrections = 1 - beta1**step, 1 - beta2**step
        library = find_library()
        if library is not None and _is_plain(weights, gradient):
            update = Update(
                size=weights.numel(), weights=weights.data_ptr(), gradient=gradient.data_ptr(),
                first=first.data_ptr(), second=second.data_ptr(), learning_rate=group["lr"], beta1=beta1, beta2=beta2,
                epsilon=_EPSILON, weight_decay=group["weight_decay"], first_correction=corrections[0],
                second_correction=corrections[1], is_cautious=self._cautious,
            )  # fmt: skip
            library.run(library.update, update, torch.get_num_threads())
            return
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        change = first / ((second / corrections[1]).sqrt_().add_(_EPSILON))
        if self._cautious:
            along = (first * gradient > 0).to(change.dtype)
            change *= along / along.mean().clamp_(min=1e-3)
        decay = min(group["lr"] * group["weight_decay"], _HUGE)
        weights.mul_(1 - decay).add_(change, alpha=-min(group["lr"] / corrections[0], _HUGE))

    def _muon(self, group: dict[str, Any], weights: Tensor, gradient: Tensor) -> None:
        state = self.state[weights]
        momentum = state["momentum_buffer"].lerp_(gradient, _SHARE)
        if self.phase == 0:
            ahead = gradient.lerp(momentum, 1 - _SHARE)  # Nesterov's
            state["direction"].copy_(direction_of(ahead, group["gates"], is_narrow=self._is_narrow))
        state["step"] += 1
        rate = min(group["lr"] * group["ratio"], _HUGE)
        weights.mul_(1 - min(rate * group["weight_decay"], _HUGE)).add_(state["direction"], alpha=-rate)

    # The same rules without a number from the host, for many arrays at a time: what a CUDA graph can replay. Where the
    # gradients are bad, `share` is zero and every sum below adds nothing.

    def _share(self, like: Tensor) -> Tensor:
        return torch.ones((), device=like.device) if self.found_inf is None else 1.0 - self.found_inf

    def _finite(self, gradients: list[Tensor]) -> list[Tensor]:
        bad = self.found_inf
        return gradients if bad is None else [torch.where(bad > 0, 0.0, gradient) for gradient in gradients]

    def _adamw_on_device(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        states = [self.state[array] for array in weights]
        first, second, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        (beta1, beta2), rate, decay = group["betas"], group["lr"], group["weight_decay"]
        if not self._cautious and weights[0].device.type != "mps":
            fused_adamw(
                weights, gradients, first, second, [], steps, fused=True, found_inf=self.found_inf, amsgrad=False,
                beta1=beta1, beta2=beta2, lr=rate, weight_decay=decay, eps=_EPSILON, maximize=False,
            )  # fmt: skip
            return
        share, gradients = self._share(rate), self._finite(gradients)
        _count(steps, share)
        _move(first, gradients, (1 - beta1) * share)
        _move(second, torch._foreach_mul(gradients, gradients), (1 - beta2) * share)
        step = steps[0].clamp(min=1)  # none were made where all were bad, and nothing is changed then
        changes = torch._foreach_div(second, 1 - beta2**step)
        torch._foreach_sqrt_(changes)
        torch._foreach_add_(changes, _EPSILON)
        changes = torch._foreach_div(first, changes)
        if self._cautious:
            along = torch._foreach_mul(first, gradients)
            torch._foreach_sign_(along)
            torch._foreach_clamp_min_(along, 0.0)  # 1 where the momentum goes along with the gradient, else 0
            left = torch._foreach_norm(along, 1)
            torch._foreach_div_(left, [float(array.numel()) for array in along])
            torch._foreach_clamp_min_(left, 1e-3)
            torch._foreach_div_(along, left)
            torch._foreach_mul_(changes, along)
        torch._foreach_mul_(weights, 1 - rate * decay * share)
        torch._foreach_mul_(changes, rate * share / (1 - beta1**step))
        torch._foreach_sub_(weights, changes)

    def _muon_on_device(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        states = [self.state[array] for array in weights]
        momentum, directions, steps = (
            [state[name] for state in states] for name in ("momentum_buffer", "direction", "step")
        )
        rate = group["lr"] * group["ratio"]
        share, gradients = self._share(rate), self._finite(gradients)
        _count(steps, share)
        _move(momentum, gradients, _SHARE * share)
        if self.phase == 0:
            ahead = torch._foreach_lerp(gradients, momentum, 1 - _SHARE)
            # Arrays of one shape go through the iteration together.
            for shape in dict.fromkeys(array.shape for array in ahead):
                alike = [n for n, array in enumerate(ahead) if array.shape == shape]
                gates = group["gates"] * len(alike)
                joined = torch.cat([ahead[n] for n in alike])
                found = torch.split(direction_of(joined, gates, is_narrow=self._is_narrow), shape[0])
                for n, direction in zip(alike, found, strict=True):
                    directions[n].lerp_(direction, share)
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"] * share)
        torch._foreach_sub_(weights, torch._foreach_mul(directions, rate * share))


def _count(steps: list[Tensor], share: Tensor) -> None:
    """Adds `share`, 1 or 0, to each count; without `alpha` torch would ask the device for the number."""
    torch._foreach_add_(steps, share, alpha=1.0)


def _move(averages: list[Tensor], values: list[Tensor] | tuple[Tensor, ...], share: Tensor) -> None:
    """Each average moves by `share` of the way to its value."""
    torch._foreach_mul_(averages, 1 - share)
    torch._foreach_add_(averages, torch._foreach_mul(values, share))


def _first_state(rule: str, weights: Tensor, *, is_capturable: bool = False) -> dict[str, Tensor]:
    """The state before the first update."""
    if rule == "schedule-free":
        return first_state(weights, weights.device if is_capturable else None)
    names = ("momentum_buffer", "direction") if rule == "muon" else ("exp_avg", "exp_avg_sq")
    step = torch.zeros((), device=weights.device if is_capturable else None)
    return {"step": step, **{name: torch.zeros_like(weights) for name in names}}


def _is_plain(*tensors: Tensor) -> bool:
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every group; of a capturable one, in the tensor that its groups share."""
    shared = optimizer.param_groups[0]["lr"]
    if isinstance(shared, Tensor):
        shared.fill_(min(learning_rate, _HUGE))
        return
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Every tensor that an update changes, but for the parameters."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def optimizer_averages(optimizer: torch.optim.Optimizer, arrays: Sequence[Tensor]) -> list[Tensor]:
    """The averages of `arrays` that the optimizer keeps to be validated; none, where it keeps none.

    An array that it does not train is its own average.
    """
    kept = [optimizer.state.get(array, {}).get("x") for array in arrays]
    if all(average is None for average in kept):
        return []
    return [array.detach() if average is None else average for array, average in zip(arrays, kept, strict=True)]


def optimizer_arrays(
    optimizer: torch.optim.Optimizer, arrays: Mapping[str, nn.Parameter]
) -> dict[str, npt.NDArray[Any]]:
    """The optimizer's state as `optimizer.<what>.<parameter>` -> array."""
    return {
        f"{_PREFIX}{what}.{name}": np.asarray(torch.as_tensor(value).detach().cpu().numpy(), np.float32)
        for name, parameter in arrays.items()
        for what, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_arrays(
    optimizer: torch.optim.Optimizer,
    arrays: Mapping[str, nn.Parameter],
    saved: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Restores what `optimizer_arrays` gave. Tensors that are there stay where they are: a graph may know them."""
    is_fused = bool(optimizer.defaults.get("fused"))
    for array in optimizer_tensors(optimizer):
        array.zero_()
    for name, parameter in arrays.items():
        state = optimizer.state[parameter]
        for key, values in saved.items():
            what, _, owner = key.removeprefix(_PREFIX).partition(".")
            if not key.startswith(_PREFIX) or owner != name:
                continue
            value = torch.from_numpy(np.array(values))
            if what in state:
                state[what].copy_(value)
            else:
                # The count of steps stays on the CPU unless the fused kernel reads it on the device.
                state[what] = value.to(parameter.device if what != "step" or is_fused else torch.device("cpu"))
    if isinstance(optimizer, Rules):
        optimizer.turn = max(
            (int(array) for key, array in saved.items() if key.startswith(f"{_PREFIX}step.")), default=0
        )
