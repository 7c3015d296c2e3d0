"""Lanes that begin anew inside a window: every path against single steps, and against windows cut by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
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
from charrnn.network import compiled_layer
from charrnn.network.compiled_layer import Buffers, run_window
from charrnn.network.jacobian_penalty import back_in_time
from charrnn.network.layers import KernelLayer, StackState
from charrnn.network.model import CharacterModel
from charrnn.network.noise import Noise, draw_noise
from charrnn.network.starts import Packed, Starts, cut
from charrnn.settings.config import TrainingConfig
from charrnn.training.penalties import penalty
from tests.kit.every_option import CELLS as NAMES
from tests.kit.every_option import OPTIONS, B, T, V, configured

library = find_library()
needs_compiled = pytest.mark.skipif(library is None, reason="the recurrence was not compiled here")
CELLS: list[Cell] = [LSTM(), GRU(), GRU("before"), RNN()]
KERNELS = [*(cell for cell in CELLS if cell.kernel), RNN("relu")]
by_name = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.compiled)
with_ids = pytest.mark.parametrize("has_ids", [False, True], ids=["inputs", "ids"])
# T, B, I, H, V: lanes that fill tiles and that do not, sizes of whole cache lines and odd ones
SIZES = [(9, 3, 7, 10, 11), (7, 16, 20, 48, 5), (5, 7, 16, 32, 9), (1, 13, 6, 33, 4), (8, 37, 5, 80, 3)]
Result = tuple[Tensor, tuple[Tensor, ...]]


def _sets() -> list[Any]:
    if library is None:
        return []
    ways = [{"best_set": number} for number in range(library.best_set + 1)]
    narrow = [{"best_way": TILES_EMULATED}, *([{"best_way": DOT}] if library.has_narrow else [])]
    return [pytest.param(way, id="-".join(f"{name} {value}" for name, value in way.items())) for way in ways + narrow]


@pytest.fixture(params=_sets())
def is_narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Each instruction set and each way to multiply bfloat16 numbers, in turn: whether it is one of the latter."""
    assert library is not None
    chosen = library._replace(**request.param)
    monkeypatch.setattr(compiled_layer, "find_library", lambda: chosen)
    return "best_way" in request.param


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves the number of threads as it was."""
    before = most_threads()
    yield
    set_most_threads(before)


class _Case:
    """One layer, a window in which a third of all steps begins anew, and a loss of everything that comes out."""

    def __init__(self, cell: Cell, sizes: tuple[int, ...], *, has_ids: bool, dtype: torch.dtype = torch.float32):
        T, B, I, H, V = sizes  # noqa: E741 - the letters the equations use
        random = torch.Generator().manual_seed(T * B + H)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(shape, generator=random, dtype=torch.float64) * scale).to(dtype).requires_grad_()

        self.cell = cell
        self.p = {name: draw(*shape, scale=H**-0.5) for name, shape in cell.shapes(I, H).items()}
        self.ids = torch.randint(V, (T, B), generator=random) if has_ids else None
        self.x = draw(V, I) if has_ids else draw(T, B, I)
        self.state = tuple(draw(B, H, scale=0.5) for _ in cell.state_names)
        self.starts = torch.rand(T, B, generator=random) < 0.3
        self._weights = [draw(T, B, H), *(draw(B, H) for _ in self.state)]

    def loop(self) -> Result:
        """The cell's own steps, with zeros chosen before each."""
        state, outputs = self.state, []
        for t, begun in enumerate(self.starts):
            state = tuple(torch.where(begun[:, None], torch.zeros_like(array), array) for array in state)
            state = self.cell.step(self.p, self.x[t] if self.ids is None else self.x[self.ids[t]], state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def window(self, **options: Any) -> Result:
        """One pass of compiled code."""
        given = {"starts": self.starts, **options}
        return run_window(str(self.cell.compiled), self.p, self.x, self.ids, self.state, Buffers(), **given)

    def by_hand(self, **options: Any) -> Result:
        """A pass of compiled code for each lane's pieces, one by one."""
        (T, B), outputs, ends = self.starts.shape, [], []
        for b in range(B):
            state, lane = tuple(array[b : b + 1] for array in self.state), slice(b, b + 1)
            edges = sorted({0, T, *torch.nonzero(self.starts[:, b]).flatten().tolist()})
            pieces = []
            for begin, end in zip(edges, edges[1:], strict=False):
                if self.starts[begin, b]:
                    state = tuple(torch.zeros_like(array) for array in state)
                x = self.x if self.ids is not None else self.x[begin:end, lane]
                ids = None if self.ids is None else self.ids[begin:end, lane]
                piece, state = run_window(str(self.cell.compiled), self.p, x, ids, state, Buffers(), **options)
                pieces.append(piece)
            outputs.append(torch.cat(pieces))
            ends.append(state)
        return torch.cat(outputs, 1), tuple(torch.cat(arrays) for arrays in zip(*ends, strict=True))

    def values(self, result: Result) -> list[Tensor]:
        """What comes out."""
        return [result[0], *result[1]]

    def gradients(self, result: Result) -> list[Tensor]:
        """The gradient of all that one can reach; of the states before the window last."""
        pairs = zip(self.values(result), self._weights, strict=True)
        loss = sum((value * weight).sum() for value, weight in pairs)
        assert isinstance(loss, Tensor)
        read = [self.x, *self.p.values(), *self.state]
        found = torch.autograd.grad(loss, read, allow_unused=True)
        return [torch.zeros_like(a) if gradient is None else gradient for gradient, a in zip(found, read, strict=True)]


def _close(ours: list[Tensor], others: list[Tensor], tolerance: float) -> None:
    """To `tolerance` of an array's largest number, or of 1 where that is larger."""
    for one, other in zip(ours, others, strict=True):
        largest = max(1.0, float(other.detach().abs().max()))
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * largest)


def _same(ours: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(ours, others, strict=True):
        assert torch.equal(one, other)


# The compiled window


@needs_compiled
@by_name
@with_ids
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_window_is_its_steps(cell: Cell, sizes: tuple[int, ...], has_ids: bool) -> None:
    """Values and every gradient in float64."""
    case = _Case(cell, sizes, has_ids=has_ids, dtype=torch.float64)
    ours, plain = case.window(), case.loop()
    _close(case.values(ours), case.values(plain), 1e-12)
    _close(case.gradients(ours), case.gradients(plain), 1e-12)


@needs_compiled
@by_name
@with_ids
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_window_is_its_pieces(cell: Cell, sizes: tuple[int, ...], has_ids: bool, is_narrow: bool) -> None:
    """In every instruction set: what comes out is, to the bit, what pieces give that are cut by hand, and so are the
    gradients of inputs and states; those of weights are the same sums in another order."""
    case = _Case(cell, sizes, has_ids=has_ids)
    options = {"is_narrow": is_narrow}
    ours, cut_up = case.window(**options), case.by_hand(**options)
    _same(case.values(ours), case.values(cut_up))
    of_ours, of_pieces = case.gradients(ours), case.gradients(cut_up)
    first, states = 0 if has_ids else 1, len(case.state)
    _same(of_ours[-states:] + of_ours[:first], of_pieces[-states:] + of_pieces[:first])
    _close(of_ours, of_pieces, 2e-2 if is_narrow else 1e-5)  # narrow factors of longer sums are rounded elsewhere
    if not is_narrow:
        _close(of_ours, case.gradients(case.loop()), 1e-5)


@needs_compiled
@by_name
@pytest.mark.parametrize("is_narrow", [False, True], ids=["float32", "bfloat16"])
def test_threads_change_no_bit(cell: Cell, is_narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes out and of every gradient."""
    assert library is not None
    monkeypatch.setattr(compiled_layer, "find_library", lambda: library._replace(best_way=TILES_EMULATED))
    results = []
    for count in (1, 2, 3, 7):
        set_most_threads(count)
        case = _Case(cell, (20, 19, 7, 130, 7), has_ids=True)
        ours = case.window(is_narrow=is_narrow)
        results.append([*case.values(ours), *case.gradients(ours)])
    for other in results[1:]:
        _same(other, results[0])


@needs_compiled
@by_name
@with_ids
def test_nothing_comes_over_a_beginning(cell: Cell, has_ids: bool, is_narrow: bool) -> None:
    """States and inputs before it may be anything, numbers or not: all that comes after stays the same to the bit. And
    no gradient goes back over it."""
    case = _Case(cell, (9, 7, 6, 33, 5), has_ids=has_ids)
    case.starts[:] = False
    case.starts[4] = True
    case.starts[0, 2] = True
    before = case.window(is_narrow=is_narrow)
    of_states = case.gradients(before)[-len(case.state) :]
    (of_inputs,) = torch.autograd.grad(case.window(is_narrow=is_narrow)[0][4:].sum(), case.x)
    expected = [before[0][4:].detach().clone(), *(array.detach().clone() for array in before[1])]
    assert all(bool((gradient[2] == 0).all()) and bool((gradient[:2] != 0).any()) for gradient in of_states)
    if not has_ids:
        assert not of_inputs[:4].any()
        assert of_inputs[4:].any()
    for hostile in (torch.nan, torch.inf, -7e20):
        with torch.no_grad():
            for array in case.state:
                array.fill_(hostile)
            if case.ids is None:
                case.x[:4] = hostile
            else:
                case.ids[:4] = (case.ids[:4] + 1) % 5
        after = case.window(is_narrow=is_narrow)
        _same([after[0][4:], *after[1]], expected)
        if case.ids is not None:
            assert bool(after[0][:4, 2].isfinite().all()), "of the lane that begins anew before the first step"


@needs_compiled
@by_name
def test_lanes_that_go_on_are_what_they_are_without_others(cell: Cell, is_narrow: bool) -> None:
    """A mask that is false everywhere is no mask; and where one lane begins anew, the others' numbers stay."""
    case = _Case(cell, (6, 13, 5, 40, 7), has_ids=True)
    options = {"is_narrow": is_narrow}
    free = case.window(starts=None, **options)
    case.starts[:] = False
    masked = case.window(**options)
    _same([*case.values(masked), *case.gradients(masked)], [*case.values(free), *case.gradients(free)])
    case.starts[3, 12] = True
    masked, free = case.window(**options), case.window(starts=None, **options)
    _same([masked[0][:, :12], *(array[:12] for array in masked[1])], [free[0][:, :12], *(a[:12] for a in free[1])])
    assert not torch.equal(masked[0][3:, 12], free[0][3:, 12])
    of_masked, of_free = (case.gradients(one)[-1][:12] for one in (masked, free))
    assert torch.equal(of_masked, of_free)


# The model, by whatever path


def _window_of(settings: dict[str, Any]) -> tuple[CharacterModel, Tensor, StackState, Noise]:
    config, _ = configured(settings)
    model = CharacterModel(config, V, V - 1)
    model.initialise(torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(4)
    ids = torch.randint(V, (T, B), generator=random)
    ids[2, 1] = ids[0, 0] = ids[5, 3] = V - 1
    state = tuple(
        tuple(torch.rand(array.shape, generator=random) - 0.5 for array in layer) for layer in model.zero_state(B)
    )
    return model, ids, state, draw_noise(random, config, T, B, 0.0, V)


def _of_step(noise: Noise, t: int) -> Noise:
    one = slice(t, t + 1)
    return noise._replace(
        masks=tuple(mask[one] for mask in noise.masks),
        inside=tuple(tuple(mask[one] for mask in layer) for layer in noise.inside),
    )


def _one_by_one(
    model: CharacterModel, ids: Tensor, state: StackState, noise: Noise, begun: Tensor
) -> tuple[Tensor, StackState]:
    """Windows of one step each, of a model that knows of no end, with zeros put into the state by hand."""
    model.end, logits = None, []
    for t in range(T):
        state = tuple(tuple(array * ~begun[t, :, None] for array in layer) for layer in state)
        one, state = model(ids[t : t + 1], state, _of_step(noise, t))
        logits.append(one)
    model.end = V - 1
    return torch.cat(logits), state


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiled)], ids=["torch", "compiled"])
@pytest.mark.parametrize("settings", [*({"cell": name} for name in NAMES), *OPTIONS], ids=str)
def test_a_model_is_its_steps(settings: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits, states and gradients with the noise of training, for every cell and all that is put around one: where the
    end is read, and where a lane begins in the middle of a document."""
    if not compiled:
        monkeypatch.setattr(compiled_layer, "find_library", lambda: None)
    model, ids, state, noise = _window_of(settings)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[3, 0] = starts[4, 2] = True
    begun = starts | (ids == V - 1)
    weights = torch.randn(T, B, V, generator=torch.Generator().manual_seed(5))
    trained = [array for array in model.arrays().values() if array.requires_grad]
    found = []
    for logits, after in (
        model(ids, state, noise, starts=starts),
        model(ids, state, noise, starts=begun),
        _one_by_one(model, ids, state, noise, begun),
    ):
        gradients = torch.autograd.grad((logits * weights).sum(), trained, allow_unused=True)
        known = [
            torch.zeros_like(array) if gradient is None else gradient
            for gradient, array in zip(gradients, trained, strict=True)
        ]
        found.append([logits, *(array for layer in after for array in layer), *known])
    _close(found[0], found[2], 1e-5)
    _same(found[1], found[0])
    free = model(
        ids, state, noise._replace(measured=draw_noise(torch.Generator(), model.config, T, B, 0.0, V).measured)
    )
    model.end = None
    without, _ = model(ids, state, noise, starts=None)
    assert not torch.allclose(free[0], without), "the end makes a difference"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_narrow", [False, True], ids=["fp32", "bf16"])
def test_a_document_is_scored_alike_whatever_stands_before(name: str, is_narrow: bool) -> None:
    """To the last bit, in lanes and alone, where the window is cut elsewhere, too."""
    if is_narrow and (library is None or not library.has_narrow):
        pytest.skip("this CPU has no AVX512-BF16")
    config, _ = configured({"cell": name, "hidden_size": 34})
    model = CharacterModel(config, V, V - 1)
    model.initialise(torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(6)
    document = torch.cat((torch.tensor([V - 1]), torch.randint(V - 1, (V,), generator=random)))

    def scored(lanes: int, lane: int, before: Tensor, others: int) -> Tensor:
        ids = torch.randint(V, (V + 1 + len(before), lanes), generator=torch.Generator().manual_seed(others))
        ids[:, lane] = torch.cat((before, document))
        state = tuple(tuple(torch.randn(a.shape, generator=random) for a in layer) for layer in model.zero_state(lanes))
        with torch.inference_mode():
            logits: Tensor = model(ids, state, is_narrow=is_narrow)[0][-V - 1 :, lane]
        return logits

    nothing = torch.zeros(0, dtype=torch.int64)
    for lanes, lane in ((1, 0), (5, 3), (16, 11)):
        expected = scored(lanes, lane, nothing, 1)
        for length, others in ((0, 2), (1, 3), (4, 4), (9, 5)):
            before = torch.randint(V, (length,), generator=random)
            other = scored(lanes, lane, before, others)
            if library is not None and name != "urnn":
                assert torch.equal(other, expected)
            torch.testing.assert_close(other, expected, rtol=1e-6, atol=1e-6)
        if library is not None and name != "urnn":
            assert torch.equal(expected, scored(1, 0, nothing, 1)), "in lanes as alone"


# In pieces, for a kernel that runs a whole window


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_window_is_cut_into_pieces(share: float) -> None:
    """Against a walk over every lane: the places of each piece in the order of its steps, the longest first."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        steps, lanes = int(random.integers(1, 9)), int(random.integers(1, 7))
        mask = random.random((steps, lanes)) < share
        pieces: list[tuple[int, list[int]]] = []
        lasts = []
        for lane in range(lanes):
            for t in range(steps):
                if t == 0 or mask[t, lane]:
                    pieces.append((lane if t == 0 and not mask[0, lane] else lanes, []))
                pieces[-1][1].append(t * lanes + lane)
            lasts.append(pieces[-1][1])
        made = cut(mask)
        assert made.sizes.sum() == steps * lanes == len(set(made.places.tolist()))
        assert (np.diff(made.sizes) <= 0).all()
        ours: list[list[int]] = [[] for _ in range(made.sizes[0])]
        taken = iter(made.places.tolist())
        for size in made.sizes:
            for piece in ours[:size]:
                piece.append(next(taken))
        assert sorted(zip(made.sources.tolist(), ours, strict=True)) == sorted(pieces)
        assert [ours[piece] for piece in made.last] == lasts
        assert (made.places[made.inverse] == np.arange(steps * lanes)).all()


@pytest.mark.parametrize("drops", [False, True], ids=["own weights", "dropped weights"])
@pytest.mark.parametrize("cell", KERNELS, ids=lambda cell: f"{cell.name} {cell.activation}")
def test_torchs_kernel_in_pieces_is_the_loop(cell: Cell, drops: bool) -> None:
    """Outputs, states and gradients of a window as a GPU runs it, made on the CPU by torch's own kernel."""
    case = _Case(cell, (9, 4, 5, 6, 3), has_ids=False, dtype=torch.float64)
    layer = KernelLayer(cell, 5, 6).double()
    arrays = layer.arrays()
    with torch.no_grad():
        for name, array in arrays.items():
            array.copy_(case.p[name])
    p = {**arrays, "weight_hh": arrays["weight_hh"] * 0.5} if drops else arrays
    starts = Starts(case.starts, torch.device("cpu"))
    assert isinstance(starts.packed, Packed)
    ours = layer.run_kernel(p, case.x, case.state, starts.packed)
    case.p = dict(p)
    _close(case.values(ours), case.values(case.loop()), 1e-12)
    _close(case.gradients(ours), case.gradients(case.loop()), 1e-12)
    case.starts[1:] = False
    assert Starts(case.starts, torch.device("cpu")).packed is None, "a window of whole lanes needs no pieces"


# Penalties


def test_no_gradient_is_asked_to_pass_a_beginning() -> None:
    """Back in time over a window whose lanes begin anew is back in time over its pieces."""
    T, B, H, start = 7, 3, 4, 3
    random = torch.Generator().manual_seed(0)
    direct, slopes = (torch.randn(T, B, H, generator=random) for _ in range(2))
    matrix = torch.randn(H, H, generator=random)
    begun = torch.zeros(T, B, dtype=torch.bool)
    begun[start] = True
    totals, passed = back_in_time(direct, slopes, matrix, begun)
    for part in (slice(0, start), slice(start, T)):
        expected, on = back_in_time(direct[part], slopes[part], matrix)
        torch.testing.assert_close(totals[part], expected, rtol=0, atol=0)
        if part.start:
            on = torch.cat((torch.zeros(1, B, H), on[1:]))
        torch.testing.assert_close(passed[part], on, rtol=0, atol=0)


def test_a_step_over_a_beginning_is_no_step() -> None:
    """The temporal penalty: the mean square over the steps inside documents, of as many as there are in all."""
    last = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    begun = torch.zeros(6, 2, dtype=torch.bool)
    begun[2, 0] = begun[0, 1] = True
    found = penalty(TrainingConfig(temporal_penalty=0.5), {}, None, last, begun)
    steps = [last[t + 1, b] - last[t, b] for b in range(2) for t in range(5) if (t + 1, b) != (2, 0)]
    assert float(found) == pytest.approx(0.5 * float(torch.cat(steps).square().sum()) / 30)  # type: ignore[arg-type]
