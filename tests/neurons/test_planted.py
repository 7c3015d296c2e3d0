"""Ground truth for the atlas: small models trained on texts with a planted structure, which it must find in them.

On other text of the same kind (`tests/kit/planted.py`), the atlas must name a unit for what was planted, and ablation
must say what the unit is for; neither labels that have lost the text nor a model that has learned nothing may do as
well.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from charrnn.network.loss_gradient import loss_gradient
from charrnn.neurons.ablate import ablate
from charrnn.neurons.circuit import find_circuit
from charrnn.neurons.pairs import MAKERS, PairMaker
from charrnn.neurons.patch import CONTEXT, Exchange, patch, ranked_states
from tests.kit.planted import HELD_OUT, TASKS, Trained, learn

pytestmark = pytest.mark.slow

SEED = 2
PAIRS = {
    'inside "quotes"': MAKERS['inside "quotes"'],
    "inside ( )": replace(MAKERS["inside ( )"], new="a"),  # its text has no spaces
    "the value is 1": PairMaker("recall", re.compile(r"(1)[a-d]+\?1"), "0"),
}
"""What changes a character so that a task's label flips, and asks what only the label tells; of lines nothing does."""


@pytest.fixture(scope="module", params=TASKS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Each task's, once."""
    return learn(TASKS[request.param], tmp_path_factory.mktemp(request.param), SEED)


def _area(effect: float) -> float:
    return (1 + abs(effect)) / 2


def test_what_was_planted_is_found(trained: Trained) -> None:
    """Among the first, with an AUC above 0.95 on the half that did not choose the unit, far beyond what the last three
    characters tell and what an untrained model does."""
    finding = trained.finding(trained.task.label)
    assert finding.verdict == "found"
    assert finding.is_found
    assert _area(finding.effect) > 0.95
    assert _area(finding.from_characters) < 0.8
    assert _area(finding.untrained) < 0.8
    # Labels that say the same, or when the line will end, may be known as well.
    assert [each.label for each in trained.found.findings].index(finding.label) < 3
    assert trained.found.beyond_characters > 0


def test_degrees_are_found(trained: Trained) -> None:
    """With a rank correlation above 0.9, and above that of any mere yes or no: deep or not, late or not."""
    if not trained.task.graded:
        pytest.skip("a yes or no")
    finding = trained.finding(trained.task.graded)
    assert finding.is_found
    assert finding.is_graded
    degree = next(label for label in trained.labels if label.name == finding.label).values[len(trained.ids) // 2 :]
    yes_no = [float(spearmanr(degree >= least, degree).statistic) for least in np.unique(degree)[1:]]
    assert 0.8 < max(yes_no) < 0.9
    assert abs(finding.effect) > 0.9
    assert abs(finding.from_characters) < 0.5


def test_few_units_tell_what_was_planted(trained: Trained) -> None:
    """One alone, where holding one makes the model forget; its F1 is high, too. The best unit of the state leads the
    ranking, and no probe of few units is far better than all of them."""
    curve, finding = trained.finding(trained.task.label).curve, trained.finding(trained.task.label)
    assert curve.k is not None
    assert curve.k <= (1 if trained.task.is_one_unit else 4)
    assert curve.dense > 0.9
    assert finding.unit == curve.first[0] or finding.unit.kind not in "hc"
    assert max(curve.scores) < curve.dense + 0.05
    if trained.task.is_one_unit:
        assert finding.f1 is not None
        assert finding.f1 > 0.85


def test_labels_that_have_lost_the_text_are_not_found(trained: Trained) -> None:
    """In long blocks, put together in another order: they keep their own correlations."""
    found = trained.atlas_of_shuffled_labels()
    assert {finding.label for finding in found.findings} == {finding.label for finding in trained.found.findings}
    assert not any(finding.is_found for finding in found.findings)


def test_an_untrained_model_knows_nothing_of_it(trained: Trained) -> None:
    """Of the same shape on the same text: it is said that its best unit is no finding."""
    found = trained.atlas_of_an_untrained_model()
    planted = {trained.task.label, trained.task.graded} - {""}
    findings = [finding for finding in found.findings if finding.label in planted]
    assert len(findings) == len(planted)
    for finding in findings:
        assert not finding.is_found
        assert finding.verdict in ("characters", "new net", "weak", "chance")
        assert _area(finding.effect) < 0.8


def test_what_was_planted_is_used(trained: Trained) -> None:
    """Held at its mean, the unit is missed where what it knows is needed: at the closing quote, at the recalled value.
    It is missed less elsewhere, and units that do not know it are missed less there."""
    task, checkpoint, scores = trained.task, trained.checkpoint, trained.found.scores
    if not task.is_one_unit:
        pytest.skip("known to several units, each of them missed little")
    label = next(label for label in trained.labels if label.name == task.label)
    unit = trained.finding(task.label).unit
    # Those of its kind that know it, too, are no comparison: they are asked about themselves.
    told = dict(zip(scores.units, np.nan_to_num(scores.first[:, scores.labels.index(task.label)]), strict=True))
    asked = {each: [label] for each, effect in told.items() if each.part == unit.part and abs(effect) > 0.9}
    start = len(trained.ids) // 2
    found = ablate(checkpoint.model, checkpoint.parameters, trained.ids, asked, start=start)
    (use,) = next(each.uses for each in found if each.unit == unit)
    assert use.is_used
    assert use.ends.characters > 100
    assert use.ends.low > 0.2
    assert use.ends.low > max(use.inside.high, use.outside.high, use.compared)


def test_the_unit_is_in_a_small_circuit(trained: Trained) -> None:
    """Where one unit knows what was planted, five units or fewer of the nineteen keep the loss, and it is among them;
    they keep it on the other half too, at least nearly, and random sets of as many do not."""
    task, checkpoint = trained.task, trained.checkpoint
    if not task.is_one_unit:
        pytest.skip("known to several units")
    label = next(label for label in trained.labels if label.name == task.label)
    found = find_circuit(checkpoint.model, checkpoint.parameters, trained.ids, label, loss_gradient, within=0.1)
    indices = [member.unit.index for member in found.members]
    assert trained.finding(task.label).unit.index in indices
    assert len(indices) <= 5
    kept = found.second.faithfulness(found.second.circuit)
    median = found.second.faithfulness(found.random[len(found.random) // 2])
    assert kept is not None
    assert median is not None
    assert kept > 0.85
    assert median < 0.5


def test_what_was_planted_is_carried(trained: Trained) -> None:
    """Where one unit knows it, nearly all that the model concludes from the changed character goes through the state of
    that unit, both ways; the eight units that tell it best carry it in any case, and random ones little."""
    task, checkpoint = trained.task, trained.checkpoint
    if task.label not in PAIRS:
        pytest.skip("no change of one character flips it")
    text = task.text(HELD_OUT, SEED, 2)
    ids = checkpoint.vocabulary.encode(text)
    exchanges = [
        Exchange(pair.place, checkpoint.vocabulary.encode(pair.new), pair.asked)
        for pair in PAIRS[task.label].pairs(text)
        if pair.place >= CONTEXT
    ]
    label = next(label for label in trained.labels if label.name == task.label)
    ranked = ranked_states(trained.atlas(checkpoint.parameters, [label]), checkpoint.model)
    found = patch(checkpoint.model, checkpoint.parameters, ids, exchanges, [ranked[:1], ranked[:8]])
    best, eight = found.carried
    assert found.change.low > 0.5
    assert eight.taken_out.value > 0.9
    assert eight.put_in.value > 0.9
    if task.is_one_unit:
        assert best.taken_out.low > 0.9
        assert best.put_in.low > 0.9
        others = [share.value for one in found.random[0] for share in (one.taken_out, one.put_in)]
        assert abs(float(np.mean(others))) < 0.05
