"""Scoring against closed forms and the plain stream; figures of `eval` against arithmetic by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import TextError
from charrnn.evaluation import bpc
from charrnn.evaluation.bpc import Stopped, default_lanes, score
from charrnn.evaluation.report import NATS_PER_UNKNOWN, ForeignText, Static, static_figures
from charrnn.inference.reference import Network
from charrnn.native.window import find_library
from charrnn.network.model import CharacterModel
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.text import corpus as corpora
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Vocabulary

V, E, H, L = 13, 7, 10, 2


def _model(cell: str = "lstm", scale: float = 1.0) -> CharacterModel:
    config = ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(4))
    with torch.no_grad():
        for array in model.arrays().values():
            array.mul_(scale)
    return model


def _ids(count: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, V, count).astype(np.uint8)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_scoring_equals_the_definition(cell: str) -> None:
    """The sum over one unbroken stream of -ln p(next character), each character but the first once."""
    model, ids = _model(cell, scale=2.0), _ids(300)
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(ids[:-1].astype(np.int64))[:, None], model.zero_state(1))
    log_p = log_softmax(logits[:, 0].double(), dim=-1)
    expected = -sum(log_p[t, int(ids[t + 1])].item() for t in range(299))
    result = score(model, ids, window=300, lanes=1)
    assert result.characters == 299
    assert result.nats == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("lanes", "context"), [(1, None), (3, None), (2, 50)])
def test_the_losses_of_single_characters_stand_at_their_places(lanes: int, context: int | None) -> None:
    """-ln p of each character by the unbroken stream, or by that of its context, whose first is left as it was."""
    model, ids = _model(scale=2.0), _ids(3200)
    found = np.full(3199, -1.0, np.float32)
    result = score(model, ids, window=70, lanes=lanes, context=context, losses=found)
    for start in range(0, 3200, context or 3200):
        text = torch.from_numpy(ids[start : start + (context or 3200)].astype(np.int64))
        with torch.no_grad():
            logits, _ = model(text[:-1, None], model.zero_state(1))
        expected = -log_softmax(logits[:, 0].double(), dim=-1)[torch.arange(len(text) - 1), text[1:]].numpy()
        np.testing.assert_allclose(found[start : start + len(text) - 1], expected, atol=1e-5)
    is_scored = found >= 0
    assert is_scored.sum() == result.characters
    assert found[is_scored].sum(dtype=np.float64) == pytest.approx(result.nats, rel=1e-6)


@pytest.mark.parametrize("lanes", [1, 3])
def test_windows_change_nothing(lanes: int) -> None:
    """Windows of 1, 7, 64 and 1000 characters give the same number to 1e-6."""
    model, ids = _model(scale=2.0), _ids(3200)  # of which a warm-up is 1,024
    results = [score(model, ids, window=window, lanes=lanes).nats_per_character for window in (1, 7, 64, 1000)]
    assert max(results) - min(results) < 1e-6


@pytest.mark.parametrize("lanes", [2, 3, 7, 64, 5000])
def test_lanes_change_nothing(lanes: int) -> None:
    """Warmed-up lanes give the single stream's number to 1e-6, and score every character once."""
    model, ids = _model(scale=2.0), _ids(9000)
    single, many = score(model, ids, lanes=1), score(model, ids, lanes=lanes)
    assert many.characters == single.characters == 8999
    assert many.nats_per_character == pytest.approx(single.nats_per_character, abs=1e-6)


def test_a_uniform_model_scores_the_logarithm_of_its_vocabulary() -> None:
    """With all weights at zero every character costs log2 V bits, exactly."""
    result = score(_model(scale=0.0), _ids(5000))
    assert result.bits_per_character == pytest.approx(math.log2(V), abs=1e-14)


def _until(most: int) -> Callable[[int], None]:
    """Ends the work when `most` characters are done."""

    def proceed(done: int) -> None:
        if done >= most:
            raise Stopped

    return proceed


def test_giving_up_gives_nothing() -> None:
    """What `proceed` raises comes out: there is no half a score."""
    with pytest.raises(Stopped):
        score(_model(), _ids(5000), proceed=_until(1000))


def test_a_short_text_has_one_lane() -> None:
    """Lanes are only worth their warm-up on long texts."""
    assert default_lanes(2000) == 1
    assert default_lanes(111_539) == 13
    assert default_lanes(10**9) == 64


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("context", "lanes", "window"), [(2, None, 128), (17, 4, 5), (256, None, 128), (1000, 3, 64)])
def test_windows_from_the_zero_state_by_a_plain_loop(cell: str, context: int, lanes: int | None, window: int) -> None:
    """Each window through the numpy network from its zero state, every character after the first of it scored."""
    model, ids = _model(cell, scale=2.0), _ids(523)
    network = Network(model.config, model.numpy_arrays())
    nats, count = 0.0, 0
    for start in range(0, len(ids), context):
        part, state = ids[start : start + context], network.zero_state()
        for here, following in zip(part, part[1:], strict=False):
            logits, state = network.step([here], state)
            exact = logits[0].astype(np.float64)
            nats += float(np.log(np.exp(exact - exact.max()).sum()) + exact.max() - exact[following])
            count += 1
    result = score(model, ids, context=context, lanes=lanes, window=window)
    assert result.characters == count == 523 - -(-523 // context)
    assert result.nats_per_character == pytest.approx(nats / count, abs=1e-6)


@pytest.mark.parametrize("context", [None, 50])
def test_a_large_vocabulary_is_read_in_smaller_windows(context: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more logits at a time than fit into memory, and the score is the same."""
    model, ids = _model("lstm"), _ids(5000)
    whole = score(model, ids, lanes=3, context=context)
    most = []
    model.register_forward_pre_hook(lambda _model, given: most.append(given[0].numel()))
    for logits in (1, 400, 4000):
        most.clear()
        monkeypatch.setattr(bpc, "_MOST_LOGITS", logits)
        assert score(model, ids, lanes=3, context=context).nats == pytest.approx(whole.nats, rel=1e-6)
        assert max(most) <= max(3, logits // model.vocabulary_size)


def test_one_window_is_the_stream() -> None:
    """A window as long as the text, or longer, is a single stream, bit for bit; a window of one scores nothing."""
    model, ids = _model(scale=2.0), _ids(300)
    for context in (300, 5000):
        assert score(model, ids, context=context, window=50) == score(model, ids, window=50, lanes=1)
    for short, context in ((ids[:1], 5), (ids, 1)):
        with pytest.raises(ValueError, match="nothing to score"):
            score(model, short, context=context)
    with pytest.raises(Stopped):
        score(model, ids, context=9, lanes=2, proceed=_until(100))


def test_a_temperature_divides_the_logits() -> None:
    """The score at temperature 2 is that of a decoder with half its weights; at 1 nothing is divided."""
    model, ids = _model(scale=2.0), _ids(300)
    hot = score(model, ids, temperature=2.0)
    plain = score(model, ids)
    assert score(model, ids, temperature=1.0) == plain
    with torch.no_grad():
        for array in model.decoder.parameters():
            array.mul_(0.5)
    assert hot.nats == pytest.approx(score(model, ids).nats, abs=1e-6)


def _checkpoint(text: str) -> Checkpoint:
    vocabulary = Vocabulary.of(text)
    config = ModelConfig(num_layers=1, hidden_size=H, embedding_size=E)
    shapes = parameter_shapes(config, len(vocabulary))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return Checkpoint(
        kind="best",
        model=config,
        vocabulary=vocabulary,
        data=DataConfig(test_fraction=0.2),
        corpus={"sha256": "", "characters": 1, "held_out": {"validation": [], "test": []}},
        progress={},
        parameters=arrays,
    )


def _foreign(text: str, path: Path, known: str, policy: str = "error", split: str = "all") -> ForeignText:
    path.write_text(text, "utf-8")
    corpus = corpora.load([Source(path, path.name)], DataConfig(), name="text")
    return ForeignText.of(corpus, _checkpoint(known), split, policy)  # type: ignore[arg-type]


def _figures(text: ForeignText, known: str) -> dict[str, float]:
    how = Static(device=torch.device("cpu"), window=50)
    return static_figures(how.model(_checkpoint(known)), text, how)


def test_the_figures_by_hand(tmp_path: Path) -> None:
    """A uniform model over four characters on 'abécab': 5 scored characters of 6 bytes, 2 bits each."""
    text = _foreign("abécab", tmp_path / "t.txt", known="abcé")
    figures = _figures(text, "abcé")
    assert figures["characters"] == 5
    assert figures["bytes"] == 6
    assert figures["bits_per_character"] == pytest.approx(2.0)
    assert figures["nats_per_character"] == pytest.approx(2 * math.log(2))
    assert figures["bits_per_byte"] == pytest.approx(10 / 6)
    assert figures["perplexity"] == pytest.approx(4.0)
    assert figures["unknown_characters"] == 0


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_unknown_characters_are_counted_and_charged(tmp_path: Path, policy: str) -> None:
    """Two unknown characters cost 20.09 bits each on top of what the model is fed."""
    text = _foreign("aΩbaΩb", tmp_path / "t.txt", known="abcd", policy=policy)
    figures = _figures(text, "abcd")
    assert figures["unknown_characters"] == 2
    assert figures["characters"] == 5  # a | b a b known, two unknown
    expected = 3 * math.log(4) + 2 * math.log(0x110000)
    assert figures["nats_per_character"] * 5 == pytest.approx(expected)
    assert pytest.approx(math.log(0x110000)) == NATS_PER_UNKNOWN


def test_replacing_feeds_the_nearest_and_still_charges(tmp_path: Path) -> None:
    """'B' is fed as 'b' and scored as that, and its price comes on top: replacing never makes a model look better."""
    text = _foreign("aBab", tmp_path / "t.txt", known="abcd", policy="replace")
    figures = _figures(text, "abcd")
    assert text.ids.tolist() == [0, 1, 0, 1]
    assert figures["characters"] == 3  # one that is replaced is counted once
    assert figures["nats_per_character"] * figures["characters"] == pytest.approx(3 * math.log(4) + NATS_PER_UNKNOWN)


def _windowed(text: ForeignText, known: str, context: int) -> dict[str, float]:
    how = Static(device=torch.device("cpu"), window=50, context=context)
    return static_figures(how.model(_checkpoint(known)), text, how)


def test_the_figures_of_windows_by_hand(tmp_path: Path) -> None:
    """A uniform model over four characters on 'abéca|béab' in windows of five: 8 scored characters of 9 bytes."""
    text = _foreign("abécabéab", tmp_path / "t.txt", known="abcé")
    figures = _windowed(text, "abcé", 5)
    assert (figures["protocol"], figures["context"], figures["windows"]) == ("windowed", 5, 2)
    assert (figures["characters"], figures["bytes"]) == (7, 9)
    assert figures["bits_per_character"] == pytest.approx(2.0)
    assert figures["bits_per_byte"] == pytest.approx(14 / 9)
    assert _figures(text, "abcé")["protocol"] == "streamed"


def test_an_unknown_first_of_a_window_is_context(tmp_path: Path) -> None:
    """'aB|Ba|b' fed as 'ab|ba|b': of the two unknown ones the second is not scored, and the last window scores none."""
    text = _foreign("aBBab", tmp_path / "t.txt", known="abcd", policy="replace")
    figures = _windowed(text, "abcd", 2)
    assert (figures["characters"], figures["bytes"], figures["windows"]) == (2, 2, 3)
    assert figures["unknown_characters"] == 1
    assert figures["nats_per_character"] * 2 == pytest.approx(2 * math.log(4) + NATS_PER_UNKNOWN)


def test_unknown_characters_are_an_error_by_default(tmp_path: Path) -> None:
    """The message lists them with their code points and how often they occur."""
    with pytest.raises(TextError, match=r"U\+03A9 GREEK CAPITAL LETTER OMEGA \(2 times\)"):
        _foreign("aΩbaΩb", tmp_path / "t.txt", known="ab")


def test_a_part_is_cut_as_training_cut_it(text_file: Callable[..., Path]) -> None:
    """`--split` uses the checkpoint's own shares: 70/10/20 of 4,000 characters here."""
    path = text_file(4000)
    text = path.read_text("utf-8")
    corpus = corpora.load([Source(path, "text.txt")], DataConfig(), name="text")
    lengths = {
        split: len(ForeignText.of(corpus, _checkpoint(text), split, "error").ids)  # type: ignore[arg-type]
        for split in ("train", "validation", "test", "all")
    }
    assert lengths == {"train": 2800, "validation": 400, "test": 800, "all": 4000}


def test_a_model_with_two_minds_is_scored_as_the_stream() -> None:
    """A unit that latches for ever on what it reads first makes warmed-up lanes start wrong; they are scored again.

    The vanilla unit h <- tanh(5 h + 20 x) keeps the sign of the first character it reads (only ids 0 and 1 drive it,
    and only from zero), and the decoder bets on it.
    """
    model = CharacterModel(ModelConfig(cell="rnn", num_layers=1, hidden_size=1, embedding_size=1), 4)
    with torch.no_grad():
        for array in model.arrays().values():
            array.zero_()
        arrays = model.arrays()
        arrays["embedding"][:2, 0] = torch.tensor([1.0, -1.0])
        arrays["layers.1.weight_ih"].fill_(2.0)
        arrays["layers.1.weight_hh"].fill_(9.0)
        arrays["decoder.weight"][:2, 0] = torch.tensor([3.0, -3.0])
    ids = np.random.default_rng(2).integers(0, 2, 30_000).astype(np.uint8)
    single = score(model, ids, lanes=1)
    starts = ids[np.arange(1, 9) * -(-29_999 // 9) - 1024]
    assert len(set(starts.tolist())) == 2, "some lanes must begin with the other character"
    many = score(model, ids, lanes=9)
    assert many.nats_per_character == pytest.approx(single.nats_per_character, abs=1e-6)


@pytest.mark.parametrize("was_training", [True, False])
def test_a_text_is_read_in_eval_mode(was_training: bool) -> None:
    """In training mode cuDNN makes room for a backward pass at every window; afterwards the model is as it was, also
    where the work was given up."""
    model, seen = _model().train(was_training), set()
    for layer in model.stack.layers:
        layer.register_forward_hook(lambda layer, *_: seen.add((layer.training, layer.kernel.training)))
    score(model, _ids(300))
    assert score(model, _ids(300), context=50).characters == 294
    with pytest.raises(Stopped):
        score(model, _ids(300), proceed=_until(0))
    assert seen == {(False, False)}
    assert model.training is was_training
    assert model.stack.layers[0].kernel.training is was_training


def test_many_characters_do_not_multiply_what_is_computed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of every character there is has a million of them: a window is cut for them, and the score is the same."""
    model = CharacterModel(ModelConfig(num_layers=1, hidden_size=3, embedding_size=2), 17)
    model.initialise(torch.Generator().manual_seed(1))
    ids = np.random.default_rng(1).integers(0, 17, 5003).astype(np.uint8)
    seen: list[int] = []
    handle = model.register_forward_hook(lambda _model, _given, made: seen.append(made[0].numel()))
    whole = score(model, ids, window=50, lanes=4)
    assert max(seen) == 50 * 4 * 17
    monkeypatch.setattr(bpc, "_MOST_LOGITS", 500)
    seen.clear()
    cut = score(model, ids, window=50, lanes=4)
    handle.remove()
    assert max(seen) == 7 * 4 * 17
    assert cut.characters == whole.characters
    assert cut.nats == pytest.approx(whole.nats, rel=1e-6)


def _documents(count: int, longest: int, seed: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest, count)
    return [np.append(V - 1, random.integers(0, V - 1, length)).astype(np.uint8) for length in lengths]


def _by_document(model: CharacterModel, documents: list[np.ndarray]) -> np.ndarray:
    """-ln p of each character and of the end of each document, read alone."""
    found = []
    for document in documents:
        text = torch.from_numpy(np.append(document, V - 1).astype(np.int64))
        with torch.no_grad():
            logits, _ = model(text[:-1, None], model.zero_state(1))
        found.append(-log_softmax(logits[:, 0].double(), dim=-1)[torch.arange(len(document)), text[1:]].numpy())
    return np.concatenate(found)


@pytest.mark.parametrize(("longest", "lanes"), [(12, None), (12, 1), (12, 7), (300, None), (5000, 4), (20000, 4)])
def test_documents_are_scored_as_if_each_were_alone(longest: int, lanes: int | None) -> None:
    """Whatever the lanes: each character once, the end too, to rounding."""
    model, documents = _model(scale=2.0), _documents(8000 // longest + 3, longest)
    model.end = V - 1
    text, expected = np.concatenate([*documents, [V - 1]]), _by_document(model, documents)
    found = np.full(len(text) - 1, np.nan, np.float32)
    result = score(model, text, lanes=lanes, losses=found)
    assert result.characters == len(expected)
    assert result.nats == pytest.approx(expected.sum(), rel=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_a_document_costs_does_not_tell_what_stands_before_it() -> None:
    """To the last bit, in another order and with other documents before it, which moves all lanes."""
    model, documents = _model(scale=2.0), _documents(900, 60)
    model.end = V - 1

    def scored(order: list[int]) -> dict[int, bytes]:
        text = np.concatenate([*(documents[number] for number in order), [V - 1]])
        found, start, own = np.full(len(text) - 1, np.nan, np.float32), 0, {}
        score(model, text, losses=found)
        for number in order:
            own[number] = found[start : start + len(documents[number])].tobytes()
            start += len(documents[number])
        return own

    order = list(range(900))
    expected = scored(order)
    if find_library() is not None:
        assert scored(order[::-1]) == expected
        assert scored(order[5:] + order[:3]).items() <= expected.items()


@pytest.mark.parametrize("text", ["aXbYab", "XXab", "abX"])
def test_the_unknown_symbol_is_fed_and_charged(tmp_path: Path, text: str) -> None:
    """Unknown characters are one symbol to the model: scored as that, counted once, and charged for which they are."""
    checkpoint = _checkpoint("ab\ufffd")
    vocabulary = Vocabulary(checkpoint.vocabulary.code_points.tolist(), has_unknown_symbol=True)
    path = tmp_path / "t.txt"
    path.write_text(text, "utf-8")
    corpus = corpora.load([Source(path, path.name)], DataConfig(), name="text")
    given = replace(checkpoint, vocabulary=vocabulary)
    foreign = ForeignText.of(corpus, given, "all", "error")
    unknown = sum(one not in "ab" for one in text[1:])
    assert vocabulary.decode(np.asarray(foreign.ids)) == "".join(one if one in "ab" else "\ufffd" for one in text)
    how = Static(device=torch.device("cpu"), window=50)
    figures = static_figures(how.model(checkpoint), foreign, how)
    assert (figures["characters"], figures["unknown_characters"]) == (len(text) - 1, unknown)
    expected = (len(text) - 1) * math.log(3) + unknown * NATS_PER_UNKNOWN
    assert figures["nats_per_character"] * (len(text) - 1) == pytest.approx(expected)
