"""What a teacher says of each window against engines that read the same text character by character."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.evaluation.bpc import Stopped
from charrnn.inference.reference import Network
from charrnn.native.window import find_library
from charrnn.network.model import CharacterModel
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.text.documents import find
from charrnn.training import teacher as teachers
from charrnn.training.documents import DocumentRing
from charrnn.training.feed import Feed, HostFeed, ResidentFeed
from charrnn.training.lanes import Reading, Ring
from charrnn.training.learner import Learner
from charrnn.training.step_mode import choose_way
from charrnn.training.tally import StepSums
from charrnn.training.teacher import Teacher

V, B, T, N, K = 7, 3, 5, 101, 2
END = V - 1
CPU = torch.device("cpu")
HAS_NARROW = (library := find_library()) is not None and library.has_narrow
HALF = 1e-3
"""What a row of float16 numbers, made of float32 ones, may be wrong by."""
Doubles = npt.NDArray[np.float64]


def _config(**settings: Any) -> ModelConfig:
    return ModelConfig(**{"num_layers": 2, "hidden_size": 9, "embedding_size": 4, "dropout": 0.5, **settings})  # type: ignore[arg-type]


def _members(config: ModelConfig, count: int = K, factor: float = 2.0) -> list[dict[str, npt.NDArray[Any]]]:
    members = []
    for seed in range(count):
        model = CharacterModel(config, V)
        model.initialise(torch.Generator().manual_seed(seed))
        members.append({name: factor * array for name, array in model.numpy_arrays().items()})
    return members


def _ids(size: int = N) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, V, size).astype(np.uint8)


def _documents(size: int = N) -> npt.NDArray[np.uint8]:
    ids = _ids(size)
    ids[[0, -1]] = END
    return ids


def _streamed(
    config: ModelConfig, members: list[dict[str, npt.NDArray[Any]]], ids: Any, end: int | None = None
) -> Doubles:
    """The members' mean distribution behind each character of a text (N, V), read in one stream from zero."""
    total = np.zeros((len(ids), V))
    for parameters in members:
        engine = Network(config, parameters, end=end)
        state = engine.zero_state(1)
        for place, id_ in enumerate(ids):
            logits, state = engine.step([int(id_)], state)
            weights = np.exp(logits[0].astype(np.float64) - logits[0].max())
            total[place] += weights / weights.sum()
    return total / len(members)


@pytest.mark.parametrize("settings", [{}, {"cell": "gru"}, {"layer_norm": True}, {"cell": "rnn", "orthogonal": True}])
def test_rows_are_the_mean_of_what_members_say_of_the_text(settings: dict[str, Any]) -> None:
    """In every window of every lane, over the seam and in the next epoch: what stands before in the text alone counts,
    and each row adds up to 1."""
    config, ids = _config(**settings), _ids()
    # With larger weights a network with layer norm is chaotic: it makes much of how numbers are added up.
    members = _members(config, factor=1.0 if config.layer_norm else 2.0)
    teacher = Teacher(config, members, V, CPU, lanes=B, text=ids)
    teacher.prepare()
    wanted = _streamed(config, members, ids)
    ring = Ring(ids, B, T)
    for step in range(3 * N // (B * T)):
        places = ring.places_at(step * T)
        assert (ids[places] == ring.at(step * T)[0].numpy()).all()
        rows = teacher(ring.at(step * T), torch.from_numpy(places))
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.sum(2), torch.ones(T, B))
        np.testing.assert_allclose(rows.numpy(), wanted[places], atol=HALF)
    assert np.ptp(wanted, axis=0).max() > 0.04


@pytest.mark.skipif(not HAS_NARROW, reason="this CPU does not multiply bfloat16 numbers")
def test_a_teacher_of_narrow_products_says_nearly_the_same() -> None:
    """Factors of seven bits: what a row costs beside the exact one is far below what is learned, and not nothing."""
    config, ids = _config(num_layers=1, hidden_size=32), _ids()
    members = _members(config)
    teacher = Teacher(config, members, V, CPU, lanes=B, text=ids, is_narrow=True)
    teacher.prepare()
    rows = teacher(Ring(ids, 1, N).at(0), torch.arange(N)[:, None])[:, 0].double().numpy()
    wanted = _streamed(config, members, ids)
    divergence = (wanted * np.log(wanted / rows)).sum(1)
    assert 1e-9 < divergence.mean() < 1e-5
    assert not np.allclose(rows, wanted, atol=HALF / 4, rtol=0)


def test_many_lanes_are_the_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes whose states were warmed up, the last one shorter, in windows that do not divide them."""
    config, ids = _config(), _ids(900)
    members = _members(config, factor=1.0)  # which forget soon
    monkeypatch.setattr(teachers, "default_lanes", lambda _characters: 4)
    monkeypatch.setattr(teachers, "WARM_UP", 90)
    monkeypatch.setattr(teachers, "_WINDOW", 23)
    teacher = Teacher(config, members, V, CPU, lanes=B, text=ids)
    told: list[tuple[int, int]] = []
    teacher.prepare(lambda done, of: told.append((done, of)))
    rows = teacher(Ring(ids, 1, 900).at(0), torch.arange(900)[:, None])[:, 0]
    np.testing.assert_allclose(rows.numpy(), _streamed(config, members, ids), atol=HALF)
    assert told == sorted(told)
    assert told[-1] == (900, 900)


def test_documents_are_read_each_from_the_zero_state() -> None:
    """In the new order of each epoch: the row of a place is what members say of the document so far."""
    config, ids = _config(), _documents()
    members = _members(config)
    teacher = Teacher(config, members, V, CPU, lanes=B, end=END, text=ids)
    teacher.prepare()
    wanted = _streamed(config, members, ids, END)
    ring = DocumentRing(ids, find(ids, END), 5, B, T)
    orders = []
    for step in range(2 * N // (B * T)):
        places, (read, following, _) = ring.places_at(step * T), ring.window_at(step * T)
        assert (ids[places] == read).all()
        inside = read != END
        assert (ids[places + 1] == following)[inside].all()
        rows = teacher(ring.at(step * T), torch.from_numpy(places)).numpy()
        np.testing.assert_allclose(rows, wanted[places], atol=HALF)
        orders.append(places)
    every = np.concatenate(orders)
    length = ring.lane_length
    assert (every[:30] != every[length : length + 30]).any()


@pytest.mark.parametrize("block", [4, 1 << 15])
def test_places_of_documents_are_where_their_ids_stand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some lanes and of all, for windows of any length, across blocks and epochs."""
    from charrnn.training import documents

    monkeypatch.setattr(documents, "_BLOCK", block)
    ids = _documents()
    ring = DocumentRing(ids, find(ids, END), 5, B, T, spare=4)
    for position in (0, 3, 31, 64, 200):
        for lanes in (slice(None), slice(1, 3)):
            for length in (1, 5, 9):
                read = ring.window_at(position, lanes, length)[0]
                assert (ids[ring.places_at(position, lanes, length)] == read).all()
    every = np.concatenate([ring.places_at(step, length=1).ravel() for step in range(ring.lane_length)])
    assert set(every.tolist()) == set(range(len(ids) - 1))


@pytest.mark.parametrize("lanes", [slice(0, B), slice(1, 2)], ids=str)
def test_feeds_know_where_their_windows_stand(lanes: slice) -> None:
    """From the host and from a device, in windows of several lengths, over the seam."""
    ids = np.arange(N).astype(np.uint8)
    ring = Ring(ids, B, T, spare=2)
    feeds: list[Feed] = [HostFeed(ring, lanes), ResidentFeed(ring, lanes, CPU)]
    for feed in feeds:
        for position in (0, 9, N - 2, 3 * N - 1):
            for length in (None, 1, T + 2):
                assert torch.equal(feed.places(position, length), feed.at(position, length)[0])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits: teachers read along."""
    monkeypatch.setattr(teachers, "_MOST_BYTES", 2 * N * V - 1)


@pytest.mark.usefixtures("small")
def test_what_does_not_fit_is_read_along() -> None:
    """Each lane's own stream from its beginning on; and it can be taken out and put back in the middle."""
    config, ids = _config(), _ids()
    members = _members(config)
    ring = Ring(ids, B, T)
    teacher = Teacher(config, members, V, CPU, lanes=B, text=ids)
    assert teacher.reads_along
    teacher.prepare()  # which has nothing to do
    steps = 8
    lanes = [[int(ids[(start + place) % N]) for place in range(steps * T)] for start in ring.starts]
    wanted = np.stack([_streamed(config, members, lane) for lane in lanes], 1)
    for step in range(steps):
        if step == 5:
            state = {name: array.copy() for name, array in teacher.state().items()}
            teacher = Teacher(config, members, V, CPU, lanes=B, text=ids)
            teacher.load(state)
        said = teacher(ring.at(step * T)).numpy()
        np.testing.assert_allclose(said, wanted[step * T : (step + 1) * T], atol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        Teacher(config, members, V, CPU, lanes=B + 1, text=ids).load(state)


@pytest.mark.usefixtures("small")
def test_documents_are_read_along_from_zero_too() -> None:
    """Also where a lane begins in the middle of one."""
    config, ids = _config(), _documents()
    members = _members(config)
    ring = DocumentRing(ids, find(ids, END), 5, B, T)
    teacher = Teacher(config, members, V, CPU, lanes=B, end=END, text=ids)
    engines = [Network(config, parameters) for parameters in members]
    states = [[engine.zero_state(1) for engine in engines] for _ in range(B)]
    for step in range(12):
        window = ring.at(step * T)
        said = teacher(window).numpy()
        assert window.starts is not None
        for t, lane in np.ndindex(T, B):
            total = np.zeros(V)
            for member, engine in enumerate(engines):
                if window.starts[t, lane]:
                    states[lane][member] = engine.zero_state(1)
                logits, states[lane][member] = engine.step([int(window.inputs[t, lane])], states[lane][member])
                weights = np.exp(logits[0].astype(np.float64) - logits[0].max())
                total += weights / weights.sum() / K
            np.testing.assert_allclose(said[t, lane], total, atol=1e-5)


def test_rows_are_the_same_bits_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread and with several, and where they were begun before and given up."""
    from charrnn.network.threads import set_threads

    config, ids = _config(hidden_size=40), _ids(900)
    monkeypatch.setattr(teachers, "default_lanes", lambda _characters: 4)
    tables = []
    try:
        for threads in (1, 2):
            set_threads(threads)
            teacher = Teacher(config, _members(config), V, CPU, lanes=B, text=ids)

            def stop(_done: int, _of: int) -> None:
                raise Stopped

            with pytest.raises(Stopped):
                teacher.prepare(stop)
            teacher.prepare()
            tables.append(teacher(Ring(ids, 1, 900).at(0), torch.arange(900)[:, None]))
    finally:
        set_threads(1)
    assert torch.equal(*tables)


def _learner(reading: Reading, *, is_taught: bool = True, way: Any = None, **settings: Any) -> Learner:
    config, student = _config(), _config(cell="gru", num_layers=1, dropout=0.3)
    training = TrainingConfig(batch_size=B, bptt=T, state_reset=0.3, precision="fp32", **settings)
    end = END if isinstance(reading, DocumentRing) else None
    teacher = None
    if is_taught:
        ids: Any = reading.ids  # type: ignore[attr-defined]
        teacher = Teacher(config, _members(config), V, CPU, lanes=B, end=end, text=ids)
        teacher.prepare()
    learner = Learner(student, training, V, CPU, end=end, way=way, teacher=teacher)
    learner.connect(HostFeed(reading, slice(0, B)), (StepSums(CPU),))
    return learner


@pytest.mark.parametrize("kind", ["ring", "documents"])
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("way", ["host", "device"])
def test_a_learner_goes_on_bit_for_bit(kind: str, fits: bool, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With rows and reading along, with dropout and resets; and without its teacher it would learn something else."""
    monkeypatch.setattr(teachers, "_MOST_BYTES", 1 << 30 if fits else 1)
    ids = _documents() if kind == "documents" else _ids()
    reading: Reading = DocumentRing(ids, find(ids, END), 5, B, T) if kind == "documents" else Ring(ids, B, T)
    whole, cut, plain = (_learner(reading, is_taught=is_taught, way=way) for is_taught in (True, True, False))
    for step in range(9):
        if step == 4:
            arrays, state = cut.model.numpy_arrays(), cut.state()
            cut = _learner(reading, way=way)
            cut.load(arrays, state)
        for each in (whole, cut, plain):
            each.step_at(step * T, 0.02)
        assert torch.equal(whole.report, cut.report)
    for name, array in whole.model.numpy_arrays().items():
        np.testing.assert_array_equal(array, cut.model.numpy_arrays()[name], err_msg=name)
    ours, theirs = whole.state(), cut.state()
    assert set(ours) == set(theirs)
    assert any(name.startswith("carry.teacher.") for name in ours) is not fits
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert (whole.model.numpy_arrays()["embedding"] != plain.model.numpy_arrays()["embedding"]).any()


def test_what_reads_along_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph has one program; a look-up is part of it."""
    from charrnn.training.distributed import World

    cuda = torch.device("cuda")
    config, ids = _config(), _ids()
    teacher = Teacher(config, _members(config), V, CPU, lanes=B, text=ids)
    assert choose_way(config, TrainingConfig(), cuda, World(0, 1), teacher=teacher) == "graph"
    monkeypatch.setattr(teachers, "_MOST_BYTES", 1)
    teacher = Teacher(config, _members(config), V, CPU, lanes=B, text=ids)
    assert choose_way(config, TrainingConfig(), cuda, World(0, 1), teacher=teacher) == "device"
