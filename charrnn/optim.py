"""Optimizers over named parameters, and their state as named arrays.

Knows torch.optim, two update rules of its own, and the names of `cells/parameters.py`. Refuses to know the schedule:
the learning rates are set from outside at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.config import TrainingConfig
from charrnn.fused.library import Update, find_library

_PREFIX = "optimizer."
_EPSILON = 1e-8
_HUGE = 1e38  # torch refuses factors beyond a float32; a run that diverges is told so elsewhere
# Muon: cheaper than it was published, at no loss that was seen (EXPERIMENTS.md).
_ITERATIONS = 3
_EVERY = 2
_PARTS = 4
_QUINTIC = (3.4445, -4.7750, 2.0315)


def make_optimizer(
    config: TrainingConfig, arrays: Mapping[str, nn.Parameter], *, is_narrow: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of `config`; weight decay acts on matrices, biases are spared.

    muon: see `Rules`; the layers' matrices go by orthogonalised momentum, the rest by AdamW. adamw: Loshchilov & Hutter
    2019 (arXiv 1711.05101, algorithm 2). rmsprop: Hinton's lecture 6e with momentum. `is_narrow` lets products be made
    of bfloat16 numbers.
    """
    layers = [a for name, a in arrays.items() if config.optimizer == "muon" and _is_layers_matrix(name, a)]
    rest = [a for a in arrays.values() if not any(a is other for other in layers)]
    groups: list[dict[str, Any]] = [
        {"params": [a for a in rest if a.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [a for a in rest if a.dim() <= 1], "weight_decay": 0.0},
    ]
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    if config.optimizer == "muon":
        gates = next(len(a) // a.shape[1] for name, a in arrays.items() if name.endswith("weight_hh"))
        muon = {"rule": "muon", "ratio": config.muon_ratio, "gates": gates}
        groups.append({"params": layers, "weight_decay": config.weight_decay, **muon})
    is_fused = config.optimizer == "adamw" and not config.cautious and rest[0].device.type != "cpu"
    if is_fused:
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)
    if config.optimizer in ("adamw", "muon"):
        return Rules(groups, lr=rate, betas=betas, cautious=config.cautious, is_narrow=is_narrow)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=True)
    return torch.optim.RMSprop(groups, lr=rate, alpha=config.beta2, momentum=config.momentum)


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
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], cautious: bool, is_narrow: bool
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "rule": "adamw", "ratio": 1.0, "gates": 1, "fused": False}
        super().__init__(groups, defaults)
        self._cautious, self._is_narrow = cautious, is_narrow

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; none where `found_inf` is set to a tensor above 0."""
        bad: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            rule = self._muon if group["rule"] == "muon" else self._adamw
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if not self.state[parameter]:
                    self.state[parameter] = _first_state(group["rule"], parameter)
                touched = [parameter, *(a for a in self.state[parameter].values() if a.device == parameter.device)]
                before = [array.clone() for array in touched] if bad is not None else []
                rule(group, parameter, parameter.grad)
                for array, old in zip(touched, before, strict=False):
                    assert bad is not None
                    array.copy_(torch.where(bad > 0, old, array))

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
            library.run(library.update, update)
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
        momentum = state["momentum_buffer"].lerp_(gradient, 0.05)
        if int(state["step"]) % _EVERY == 0:
            ahead = gradient.lerp(momentum, 0.95)  # Nesterov's
            blocks = ahead.view(_number_of_blocks(weights.shape, group["gates"]), -1, weights.shape[1])
            scale = 0.2 * max(blocks.shape[1:]) ** 0.5
            direction = orthogonalised(blocks, is_narrow=self._is_narrow).reshape(weights.shape)
            state["direction"].copy_(direction).mul_(scale)
        state["step"] += 1
        rate = min(group["lr"] * group["ratio"], _HUGE)
        weights.mul_(1 - min(rate * group["weight_decay"], _HUGE)).add_(state["direction"], alpha=-rate)


def _first_state(rule: str, weights: Tensor) -> dict[str, Tensor]:
    if rule == "muon":
        return {
            "step": torch.zeros(()),
            "momentum_buffer": torch.zeros_like(weights),
            "direction": torch.zeros_like(weights),
        }
    return {
        "step": torch.zeros(()),
        "exp_avg": torch.zeros_like(weights),
        "exp_avg_sq": torch.zeros_like(weights),
    }


def _is_plain(*tensors: Tensor) -> bool:
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)


def _number_of_blocks(shape: torch.Size, gates: int) -> int:
    """Each gate's block is cut into four where it is not narrow: as good, at a fifth of the cost (EXPERIMENTS.md)."""
    rows, columns = shape[0] // gates, shape[1]
    return gates * (_PARTS if columns >= rows and rows % _PARTS == 0 else 1)


def orthogonalised(blocks: Tensor, *, is_narrow: bool = False) -> Tensor:
    """Of each matrix (N, R, C) roughly the nearest one whose singular values are 1.

    Newton-Schulz with the quintic of Jordan et al. 2024, made for speed at little exactness: the largest ones end near
    1, and those below a tenth of them are still on their way there.
    """
    is_tall = blocks.shape[1] > blocks.shape[2]
    x = blocks.mT if is_tall else blocks
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if is_narrow:
        x = x.bfloat16()
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(blocks.dtype)


def skips_bad_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `found_inf`, a tensor, keeps it from making an update, so that nobody need wait for its value."""
    return isinstance(optimizer, Rules) or bool(optimizer.defaults.get("fused"))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_arrays(
    optimizer: torch.optim.Optimizer, arrays: Mapping[str, nn.Parameter]
) -> dict[str, npt.NDArray[Any]]:
    """The optimizer's state as `optimizer.<what>.<parameter>` -> array; empty before the first step."""
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
    """Restores what `optimizer_arrays` gave."""
    optimizer.state.clear()
    is_fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in arrays.items():
        state: dict[str, Any] = {}
        for key, array in saved.items():
            what, _, owner = key.removeprefix(_PREFIX).partition(".")
            if key.startswith(_PREFIX) and owner == name:
                # The count of steps stays on the CPU unless the fused kernel reads it on the device.
                device = parameter.device if what != "step" or is_fused else torch.device("cpu")
                state[what] = torch.from_numpy(np.array(array)).to(device)
        if state:
            optimizer.state[parameter] = state
