"""What the benchmarks of training count and compare with, where a mistake would flatter: against hand-worked figures
and torch's own module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.benchmarks.command import Command
from tests.benchmarks.steps import Shape
from tests.benchmarks.transformer import Recipe, Transformer, score, train

TINY = Recipe(
    num_layers=2, num_heads=3, width=12, context=7, batch_size=5, iterations=9, warmup=2, validation_batches=4
)
V = 11


def test_operations_of_a_step_by_hand() -> None:
    """Products a character: 5 x 12 and 3 x 12 in the first layer, twice 3 x 12 in the second, 3 x 11 in the decoder."""
    shape = Shape("lstm", layers=2, hidden=3, embedding=5, lanes=2, window=7, vocabulary=11)
    assert shape.operations(with_first=True) == (60 + 36 + 36 + 36 + 33) * 2 * 3 * 14
    assert shape.operations(with_first=False) == (36 + 36 + 36 + 33) * 2 * 3 * 14
    assert shape._replace(cell="gru").operations(with_first=True) == (45 + 27 + 27 + 27 + 33) * 2 * 3 * 14


def test_the_moment_of_a_loss_by_hand() -> None:
    """0.1 seconds a step, and 5 seconds for each validation, which the pace leaves out and the run's clock does not."""
    lines = [
        {"step": step, "seconds": 0.1 * step + 5.0 * ((step - 1) // 10), "learning_rate": 1.0}
        for step in range(2, 31, 2)
    ]
    lines += [
        {"step": step, "seconds": 0.1 * step + 5.0 * (step // 10 - 1), "validation_nats": nats}
        for step, nats in ((10, 2.0), (20, 1.8), (30, 1.5))
    ]
    found = Command(lines, seconds=60.0, start=1.25).first_below(1.886)
    assert found is not None
    assert (found["nats"], found["step"]) == (1.8, 20)
    assert [found[clock] for clock in ("seconds", "command", "steps alone")] == pytest.approx([7.0, 8.25, 2.0])
    assert Command(lines, seconds=60.0, start=None).first_below(1.5) is None


def test_the_transformer_is_torchs_own() -> None:
    """The same weights in nn.TransformerEncoderLayer give the same logits."""
    model = Transformer(TINY, V)
    names = {
        "self_attn.in_proj_weight": "attention_in.weight",
        "self_attn.out_proj.weight": "attention_out.weight",
        "norm1.weight": "attention_norm.weight",
        "norm2.weight": "mlp_norm.weight",
        "linear1.weight": "mlp_in.weight",
        "linear2.weight": "mlp_out.weight",
    }
    ids = torch.randint(V, (3, 6), generator=torch.Generator().manual_seed(0))
    x = model.embedding(ids) + model.positions.weight[:6]
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True, norm_first=True, bias=False)
        weights = block.state_dict()
        layer.load_state_dict({theirs: weights[ours] for theirs, ours in names.items()})
        x = layer(x, mask)
    torch.testing.assert_close(model(ids), model.norm(x) @ model.embedding.weight.T)


def test_the_transformer_has_the_recipes_size_and_rates() -> None:
    """0.80 million weights; the rate peaks after the climb and ends at a tenth of its peak."""
    recipe = Recipe()
    assert sum(parameter.numel() for parameter in Transformer(recipe, 65).parameters()) == 804_096
    assert recipe.rate(0) < recipe.rate(99) < recipe.rate(100) == 1e-3
    assert recipe.rate(1050) == pytest.approx((1e-3 + 1e-4) / 2)
    assert recipe.rate(2000) == pytest.approx(1e-4)


def test_the_transformer_scores_each_id_once() -> None:
    """Windows of 7 and a rest of 4: the mean of every id's own nats."""
    model = Transformer(TINY, V)
    ids = torch.randint(V, (26,), generator=torch.Generator().manual_seed(1))
    nats = 0.0
    with torch.no_grad():
        for place in range(25):
            read = ids[place // 7 * 7 : place + 1]
            nats -= float(model(read[None])[0, -1].log_softmax(0)[ids[place + 1]])
    assert score(model, ids, 7) == pytest.approx(nats / 25, rel=1e-5)


def test_the_transformer_learns_and_its_validations_change_nothing() -> None:
    """A cycle is learned; more validations leave the weights as they are."""
    ids = torch.arange(200) % 5
    weights = []
    for every in (3, 100):
        recipe = Recipe(num_layers=1, num_heads=2, width=8, context=6, iterations=40, warmup=1, validate_every=every,
                        learning_rate=0.05, validation_batches=2)  # fmt: skip
        model = Transformer(recipe, V)
        moments = list(train(model, recipe, ids, ids))
        assert [moment.iteration for moment in moments] == sorted({*range(0, 40, every), 40})
        assert abs(moments[0].nats - math.log(V)) < 0.1
        assert moments[-1].nats < 0.5
        weights.append(model.state_dict())
    for one, other in zip(weights[0].values(), weights[1].values(), strict=True):
        assert torch.equal(one, other)
