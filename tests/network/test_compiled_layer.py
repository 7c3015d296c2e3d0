"""The compiled recurrence against the plain loop over the cell, in every instruction set; and finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.cells.cell import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN
from charrnn.native.crew import most_threads, set_most_threads
from charrnn.native.product import DOT, TILES_EMULATED
from charrnn.native.window import find_library
from charrnn.network import compiled_layer as recurrence
from charrnn.network.compiled_layer import Buffers, run_window
from charrnn.network.decoder import decode
from charrnn.network.layers import KernelLayer, Layer

library = find_library()
pytestmark = pytest.mark.skipif(library is None, reason="the recurrence was not compiled here")
CELLS: list[Cell] = [LSTM(), GRU(), GRU("before"), RNN()]
by_name = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.compiled)
# T, B, I, H, V: lanes that fill tiles and that do not, sizes of whole cache lines and odd ones
SIZES = [(5, 3, 7, 10, 11), (9, 16, 20, 48, 5), (4, 7, 16, 32, 9), (1, 13, 6, 33, 4), (3, 1, 2, 1, 3)]


@pytest.fixture(params=range(1 + (library.best_set if library else 0)), ids=lambda n: ("portable", "avx2", "avx512")[n])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Each set this machine has, in turn."""
    assert library is not None
    chosen = library._replace(best_set=request.param)
    monkeypatch.setattr(recurrence, "find_library", lambda: chosen)
    return int(request.param)


@pytest.fixture(params=["dot", "tiles"])
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of multiplying bfloat16 numbers: the processor's dot products, and matrix tiles, emulated."""
    assert library is not None
    if request.param == "dot" and not library.has_narrow:
        pytest.skip("this CPU has no AVX512-BF16")
    chosen = library._replace(best_way=DOT if request.param == "dot" else TILES_EMULATED)
    monkeypatch.setattr(recurrence, "find_library", lambda: chosen)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves the number of threads as it was."""
    before = most_threads()
    yield
    set_most_threads(before)


def assert_equal(ours: list[Tensor], plain: list[Tensor]) -> None:
    """To 1e-5 of an array's largest number, or of 1 where that is larger."""
    for one, other in zip(ours, plain, strict=True):
        largest = max(1.0, float(other.detach().abs().max()))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * largest)


class Case:
    """Parameters, input and state of one layer, and a loss that looks at everything that comes out."""

    def __init__(
        self, cell: Cell, sizes: tuple[int, ...], *, has_ids: bool, dtype: torch.dtype = torch.float32
    ) -> None:
        T, B, I, H, V = sizes  # noqa: E741 - the letter the equations use
        random = torch.Generator().manual_seed(T * B + H)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(shape, generator=random, dtype=torch.float64) * scale).to(dtype).requires_grad_()

        self.cell, self.T = cell, T
        self.p = {name: draw(*shape, scale=H**-0.5) for name, shape in cell.shapes(I, H).items()}
        self.ids = torch.randint(V, (T, B), generator=random) if has_ids else None
        self.x = draw(V, I) if has_ids else draw(T, B, I)
        self.state = tuple(draw(B, H, scale=0.5) for _ in cell.state_names)
        self._weights = [draw(T, B, H), *(draw(B, H) for _ in self.state)]

    def loop(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The reference."""
        state, outputs = self.state, []
        for t in range(self.T):
            state = self.cell.step(self.p, self.x[t] if self.ids is None else self.x[self.ids[t]], state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def fused(self, **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Ours."""
        return run_window(str(self.cell.compiled), self.p, self.x, self.ids, self.state, Buffers(), **options)

    def everything(self, result: tuple[Tensor, tuple[Tensor, ...]]) -> list[Tensor]:
        """Outputs, states and the gradient of all that a gradient can reach."""
        values = [result[0], *result[1]]
        loss = sum((value * weight).sum() for value, weight in zip(values, self._weights, strict=True))
        assert isinstance(loss, Tensor)
        return [*values, *torch.autograd.grad(loss, [self.x, *self.p.values(), *self.state])]


def _layer(cell: Cell, input_size: int, hidden_size: int) -> Layer:
    """A layer as a model has it, with weights of chance."""
    layer = (KernelLayer if cell.kernel else Layer)(cell, input_size, hidden_size)
    random = torch.Generator().manual_seed(0)
    for array in layer.arrays().values():
        torch.nn.init.uniform_(array, -0.3, 0.3, random)
    return layer


@by_name
@pytest.mark.parametrize("has_ids", [False, True], ids=["inputs", "ids"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_equals_the_plain_loop(cell: Cell, sizes: tuple[int, ...], has_ids: bool, instruction_set: int) -> None:
    """Outputs, states and every gradient to 1e-5."""
    case = Case(cell, sizes, has_ids=has_ids)
    assert_equal(case.everything(case.fused()), case.everything(case.loop()))


@by_name
@pytest.mark.parametrize("has_ids", [False, True], ids=["inputs", "ids"])
def test_gradients_are_those_of_finite_differences(cell: Cell, has_ids: bool) -> None:
    """gradcheck in double precision, of everything that has a gradient."""
    case = Case(cell, (3, 2, 3, 5, 4), has_ids=has_ids, dtype=torch.float64)
    names = list(case.p)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        p, state = dict(zip(names, rest[: len(names)], strict=True)), rest[len(names) :]
        output, after = run_window(str(cell.compiled), p, x, case.ids, state, Buffers())
        return output, *after

    assert torch.autograd.gradcheck(run, (case.x, *case.p.values(), *case.state))


@by_name
@pytest.mark.parametrize("has_ids", [False, True], ids=["inputs", "ids"])
@pytest.mark.parametrize("is_narrow", [False, True], ids=["float32", "bfloat16"])
def test_threads_change_no_bit(cell: Cell, has_ids: bool, is_narrow: bool) -> None:
    """One, two and more threads than there are panels give the same numbers, forward and back."""
    if is_narrow and (library is None or not library.has_narrow):
        pytest.skip("this CPU has no AVX512-BF16")
    results = []
    for threads in (1, 2, 3, 7):
        set_most_threads(threads)
        case = Case(cell, (40, 19, 70, 130, 7), has_ids=has_ids)
        results.append([value.detach().clone() for value in case.everything(case.fused(is_narrow=is_narrow))])
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@by_name
def test_a_lane_alone_is_the_lane_among_others(cell: Cell) -> None:
    """The same bits, so that nothing depends on how a batch is cut."""
    case = Case(cell, (6, 13, 1, 40, 7), has_ids=True)
    together, _ = case.fused()
    assert case.ids is not None
    for lane in range(13):
        state = tuple(array[lane : lane + 1] for array in case.state)
        alone, _ = run_window(str(cell.compiled), case.p, case.x, case.ids[:, lane : lane + 1], state, Buffers())
        assert torch.equal(alone[:, 0], together[:, lane])


@by_name
@pytest.mark.parametrize("has_ids", [False, True], ids=["inputs", "ids"])
@pytest.mark.parametrize("sizes", [*SIZES, (3, 37, 20, 80, 5)], ids=str)
@pytest.mark.usefixtures("narrow")
def test_narrow_products_lose_what_bfloat16_loses(cell: Cell, sizes: tuple[int, ...], has_ids: bool) -> None:
    """bfloat16 keeps 8 bits: everything agrees with float32 to about 1 in 100, in the norm."""
    case = Case(cell, sizes, has_ids=has_ids)
    pairs = zip(case.everything(case.fused(is_narrow=True)), case.everything(case.loop()), strict=True)
    for narrow, plain in ((one.detach(), two.detach()) for one, two in pairs):
        assert float((narrow - plain).norm()) < 0.015 * float(plain.norm()) + 1e-4


@by_name
@pytest.mark.usefixtures("narrow")
def test_narrow_products_are_sums_of_rounded_factors(cell: Cell) -> None:
    """Forward equals the loop whose recurrent factors are rounded to bfloat16 and whose sums are not."""

    def rounded(array: Tensor) -> Tensor:
        return array.detach().bfloat16().float()

    case = Case(cell, (5, 6, 8, 48, 9), has_ids=True)
    ours, _ = case.fused(is_narrow=True)
    assert case.ids is not None
    p = {**case.p, "weight_hh": rounded(case.p["weight_hh"])}
    plain = {**p, "weight_hh": torch.zeros_like(p["weight_hh"])}
    state = case.state
    for t in range(case.T):
        # The product of rounded h goes in as a part of the bias, so that h itself is not rounded elsewhere.
        read = rounded(state[0])
        if cell.compiled == "gru, reset before":
            W_r, _, W_n = p["weight_hh"].chunk(3)
            x_r = cell.prepare(p, case.x[case.ids[t]])[0].chunk(3, -1)[0]
            r = torch.sigmoid(x_r + read @ W_r.T + p["bias_hh"].chunk(3)[0])
            candidate = rounded(r * state[0]) @ W_n.T
            product = torch.cat((read @ p["weight_hh"][:96].T, candidate), -1)
        else:
            product = read @ p["weight_hh"].T
        steps = []
        for lane in range(len(product)):
            name = "bias_hh" if cell.name == "gru" else "bias"
            own = {**plain, name: plain[name] + product[lane]}
            steps.append(cell.step(own, case.x[case.ids[t, lane]][None], tuple(a[lane : lane + 1] for a in state)))
        state = tuple(torch.cat(arrays) for arrays in zip(*steps, strict=True))
        torch.testing.assert_close(ours[t], state[0], rtol=1e-5, atol=1e-5)
        state = (ours[t].detach(), *state[1:])  # or one h, rounded the other way, would lead the rest astray


def test_the_decoders_logits_are_exact_and_its_gradient_is_narrow() -> None:
    """Against torch's own layer: the same logits and bias gradient, the others to what bfloat16 keeps."""
    T, B, H, V = 5, 3, 16, 7
    random = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=random).requires_grad_() for shape in ((T, B, H), (V, H), (V,))]
    ours, plain = decode(*given, is_narrow=True), torch.nn.functional.linear(*given)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    weights = torch.randn(T, B, V, generator=random)
    d_ours, d_plain = (torch.autograd.grad(logits, given, weights) for logits in (ours, plain))
    torch.testing.assert_close(d_ours[2], d_plain[2], rtol=0, atol=1e-5)
    for one, two in zip(d_ours[:2], d_plain[:2], strict=True):
        assert one.dtype == torch.float32
        assert 0 < float((one - two).norm()) < 0.01 * float(two.norm())


@by_name
def test_a_second_pass_back_is_refused(cell: Cell) -> None:
    """The gates' memory has been used again: going back through it twice would give wrong gradients silently."""
    case = Case(cell, SIZES[0], has_ids=False)
    output, _ = case.fused()
    output.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="used up"):
        output.sum().backward()


@by_name
def test_windows_under_way_do_not_share_memory(cell: Cell) -> None:
    """Two windows forward, then both back, as with gradients over several windows; and with none wanted in between."""
    buffers = Buffers()
    cases = [Case(cell, (5, 3, 7, 10, 11), has_ids=has_ids) for has_ids in (False, True)]
    results = [run_window(str(cell.compiled), case.p, case.x, case.ids, case.state, buffers) for case in cases]
    with torch.no_grad():
        kept, _ = run_window(str(cell.compiled), cases[0].p, cases[0].x, None, cases[0].state, buffers)
        expected = kept.clone()
    for case, result in zip(cases, results, strict=True):
        assert_equal(case.everything(result), case.everything(case.loop()))
    assert torch.equal(kept, expected)


@by_name
def test_scoring_in_between_leaves_no_memory_behind(cell: Cell) -> None:
    """Windows of the same shape, in inference mode and in training in turn: the one's tensors are not the other's."""
    layer = _layer(cell, 4, 16)
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    state = tuple(torch.zeros(3, 16) for _ in cell.state_names)
    with torch.inference_mode():
        expected, _ = layer(x, state)
    for _ in range(2):
        output, _ = layer(x, state)
        output.sum().backward()
        with torch.inference_mode():
            assert torch.equal(layer(x, state)[0], expected)
        assert torch.equal(output.detach(), expected)


@by_name
def test_without_it_torch_computes_the_same(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer gives the same outputs and gradients where nothing was compiled, from inputs and from ids."""
    layer = _layer(cell, 4, 10)
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(6, (5, 3), generator=random)
    state = tuple(torch.randn(3, 10, generator=random) for _ in cell.state_names)
    results = []
    for is_available, given in itertools.product((True, False), (ids, None)):
        monkeypatch.setattr("charrnn.network.layers.is_available", lambda *_, answer=is_available: answer)
        table = torch.linspace(-1, 1, 24).view(6, 4).requires_grad_()
        layer.zero_grad()
        output, _ = layer(table if given is not None else table[ids], state, given)
        output.square().sum().backward()
        results.append([output, table.grad, *[p.grad.clone() for p in layer.arrays().values()]])
    for other in results[1:]:
        assert_equal(results[0], other)
