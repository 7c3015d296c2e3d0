"""Cells that are disturbed in training: zoneout, and dropout of what is written.

Zoneout (Krueger et al. 2017, arXiv 1606.01305): units keep their value of the step before. With d of zeros
and ones, a zero with probability z, drawn for every unit and step,

    h_t = d_h * h~_t + (1 - d_h) * h_{t-1}        c_t = d_c * c~_t + (1 - d_c) * c_{t-1}

where h~ and c~ are the cell's own, and h~ comes from c~. Outside training d is its mean, 1 - z.

Recurrent dropout without memory loss (Semeniuta, Severyn & Barth 2016, arXiv 1603.05118): only what is
about to be written to the memory is dropped, never the memory:

    lstm    c_t = f * c_{t-1} + i * d(g)          gru    h_t = (1 - z) * d(n) + z * h_{t-1}

d(g) is 0 with the rate's probability and g / (1 - rate) else; outside training it is g.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from charrnn.cells.arrays import Array, Arrays, between
from charrnn.cells.cell import PLAIN, Cell, Inside, Noise, Prepared, State, Step
from charrnn.cells.wrapper import Need, Stepping, has_candidate, has_memory


@dataclass(frozen=True)
class Zoneout(Stepping):
    """Keeps old values of h at one rate and of c, if there is one, at another. Only rates that are not 0 take noise."""

    rate: float
    memory_rate: float
    rates: ClassVar[tuple[float, ...]]
    """One for each part of the state."""

    needs = (
        Need("zoneout", lambda _: True, ""),
        Need("zoneout_cell", has_memory, "it has no memory c beside its output h, which --zoneout is for"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = (self.rate, self.memory_rate)[: len(self.state_names)]
        self._declare(
            rates=rates,
            noise_rates=(*filter(None, rates), *self.inner.noise_rates),
            held=tuple(kind for kind in self.inner.held if kind == "h"),
            words=(f"zoneout {'/'.join(f'{rate:g}' for rate in rates)}",),
        )

    def advance(self, p: Arrays, prepared: Prepared, state: State, noise: Noise = (), inside: Inside = PLAIN) -> Step:
        """Makes the inner step and goes back to old values where the noise is 0; without noise it takes the mean."""
        own = len(self.noise_rates) - len(self.inner.noise_rates)
        shares = iter(noise[:own] or [1.0 - rate for rate in self.rates if rate])
        new, gates = self.inner.advance(p, prepared, state, noise[own:], inside)
        mixed = [
            between(before, after, next(shares)) if rate else after
            for rate, before, after in zip(self.rates, state, new, strict=True)
        ]
        return tuple(mixed), gates


@dataclass(frozen=True)
class RecurrentDropout(Stepping):
    """Drops candidates of the cell inside. Its own noise comes before that of the inner cell."""

    rate: float

    needs = (
        Need(
            "recurrent_dropout", has_candidate, "its candidate is the whole of its memory, and dropping it is losing it"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._declare(noise_rates=(self.rate, *self.inner.noise_rates), words=(f"recurrent dropout {self.rate:g}",))

    def at_rest(self) -> Cell:
        """Returns the cell inside: nothing is dropped outside training."""
        return self.inner.at_rest()

    def advance(self, p: Arrays, prepared: Prepared, state: State, noise: Noise = (), inside: Inside = PLAIN) -> Step:
        """Makes the inner step, of whose candidate only what the noise lets through is written."""
        if not noise:
            return self.inner.advance(p, prepared, state, (), inside)
        kept = noise[0] * (1.0 / (1.0 - self.rate))

        def written(candidate: Array) -> Array:
            return inside.candidate(candidate) * kept

        return self.inner.advance(p, prepared, state, noise[1:], inside._replace(candidate=written))
