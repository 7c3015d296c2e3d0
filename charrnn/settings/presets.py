"""Recipes as data, published ones and one of ours: for each its settings as options, and in words what has no option.

Where a paper's loss is a sum over the window and ours a mean, learning rate and clip are converted. What a user says
besides wins (`plan.with_preset`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from charrnn.settings.config import Budget
from charrnn.settings.documents import are_asked_for

PresetName = Literal["karpathy2015", "zaremba", "awd", "zoneout", "mogrifier", "mlstm", "best"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One recipe."""

    source: str
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    budget: Budget
    data: Mapping[str, Any] = field(default_factory=lambda: {"held_out": "end"})
    """As everyone holds out the end of a paper's text."""
    departs: str = ""
    """How it differs from the paper, for lack of an option; nothing where there is no paper."""

    def data_beside(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the settings of the text that go with those that are asked for: of documents whole ones are held
        out."""
        return {} if are_asked_for(asked) else self.data


PRESETS: dict[PresetName, Preset] = {
    "karpathy2015": Preset(
        source="Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078, section 3.3",
        model={"cell": "lstm", "num_layers": 2, "hidden_size": 512, "dropout": 0.0},
        training={
            "batch_size": 100, "bptt": 100, "state_reset": 0.0, "optimizer": "rmsprop", "learning_rate": 2e-3,
            "beta2": 0.95, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 5.0, "warmup": 0, "decay": "linear",
            "final_learning_rate": 0.13, "average": 0.0,
        },
        budget=Budget(epochs=50),
        departs="an embedding in the place of one-hot characters; weights begin in +-1/sqrt(hidden), not +-0.08; the "
        "norm is clipped, not each number; the rate falls in a line to the 0.13 that 0.95 an epoch from the tenth on "
        "leaves; no early stopping (add --patience); dropout was tuned for each model (choose --dropout)",
    ),
    "zaremba": Preset(
        source="Zaremba, Sutskever & Vinyals 2014, arXiv 1409.2329, section 4.1, medium",
        model={"cell": "lstm", "num_layers": 2, "hidden_size": 650, "embedding_size": 650, "dropout": 0.5,
               "forget_bias": 0.0},
        training={
            "batch_size": 20, "bptt": 35, "state_reset": 0.0, "optimizer": "sgd", "momentum": 0.0,
            "learning_rate": 35.0, "clip_norm": 5.0, "clip_loss": "sum", "weight_decay": 0.0, "warmup": 0,
            "decay": "cosine", "final_learning_rate": 0.0024, "average": 0.0,
        },
        budget=Budget(epochs=39),
        departs="words there, characters here; a rate of 1 on a loss summed over 35 steps is 35 on the mean; "
        "the rate falls by a cosine to the 0.0024 that a division by 1.2 an epoch from the seventh on "
        "leaves; weights begin in +-1/sqrt(hidden), not +-0.05; the embedding is not dropped",
    ),
    "awd": Preset(
        source="Merity, Keskar & Socher 2018, arXiv 1803.08240, character-level Penn Treebank",
        model={
            "cell": "lstm", "num_layers": 3, "hidden_size": 800, "embedding_size": 200, "dropout": 0.0,
            "forget_bias": 0.0, "variational_dropout": 0.25, "input_dropout": 0.1, "output_dropout": 0.1,
            "weight_drop": 0.5,
        },
        training={
            "batch_size": 128, "bptt": 150, "state_reset": 0.0, "optimizer": "adamw", "cautious": False,
            "learning_rate": 2e-3, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": 0.25, "warmup": 0,
            "random_bptt": True, "l2": 1.2e-6, "decay": "cosine", "final_learning_rate": 0.01, "average": 0.0,
        },
        budget=Budget(epochs=500),
        departs="layers are equally wide: 800 for the paper's 200 - 1000 - 1000 - 200, near its 13.8 million "
        "parameters, and so untied; the rate falls by a cosine to the 0.01 that two divisions by 10 leave; the L2 is "
        "in the gradient before it is clipped, not after",
    ),
    "zoneout": Preset(
        source="Krueger et al. 2017, arXiv 1606.01305, character-level Penn Treebank, and their code",
        model={
            "cell": "lstm", "num_layers": 1, "hidden_size": 1000, "embedding_size": 50, "dropout": 0.0,
            "forget_bias": 1.0, "init": "orthogonal", "zoneout": 0.05, "zoneout_cell": 0.5,
        },
        training={
            "batch_size": 32, "bptt": 100, "state_reset": 0.0, "optimizer": "adamw", "cautious": False,
            "learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": 1.0, "warmup": 0,
            "decay": "constant", "average": 0.0,
        },
        budget=Budget(epochs=110),
        departs="an embedding of 50 in the place of 50 one-hot characters; the state is carried on, where each window "
        "began from a learned one; windows do not begin at another place in each epoch; the gradient's norm is "
        "clipped, not the update's; only recurrent matrices begin orthogonal; no early stopping (there --patience 25)",
    ),
    "mogrifier": Preset(
        source="Melis, Kocisky & Blunsom 2020, arXiv 1909.01792, character-level Penn Treebank, 24 million, as their "
        "code has it",
        model={
            "cell": "lstm", "num_layers": 2, "hidden_size": 1209, "embedding_size": 1209, "dropout": 0.0,
            "forget_bias": 1.0, "coupled": "min", "skip": "sum", "mogrifier": 4, "mogrifier_rank": 24,
            "input_dropout": 0.2786, "variational_dropout": 0.0738, "output_dropout": 0.2347,
        },
        training={
            "batch_size": 64, "bptt": 150, "state_reset": 0.01, "optimizer": "adamw", "cautious": False,
            "learning_rate": 3.74e-3, "beta1": 0.0, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": 10.0,
            "clip_loss": "sum", "l2": 1.7e-6, "warmup": 0, "decay": "constant", "average": 0.0, "average_after": 25,
            "average_from": 0.8,
        },
        budget=Budget(steps=100_000),
        departs="no dropout of 0.171 on the state in the recurrence; masks of inputs, layers and outputs hold for a "
        "window, not a step; L2 of 2.56e-4 on a loss summed over 150 steps is 1.7e-6 on the mean; validations are not "
        "200 steps apart (--validate-every 200); weights begin in +-1/sqrt(hidden), not normal with deviation "
        "1/sqrt(inputs); their softmax has a temperature chosen on validation (eval --tune)",
    ),
    "mlstm": Preset(
        source="Krause, Murray, Renals & Lu 2016, arXiv 1609.07959, enwik8 with variational dropout, and their code",
        model={
            "cell": "lstm", "multiplicative": True, "num_layers": 1, "hidden_size": 2800, "embedding_size": 400,
            "dropout": 0.0, "forget_bias": 3.0, "init": "orthogonal", "input_dropout": 0.5, "output_dropout": 0.2,
        },
        training={
            "batch_size": 100, "bptt": 200, "state_reset": 0.0, "optimizer": "adamw", "cautious": False,
            "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": 0.0, "warmup": 0,
            "decay": "linear", "final_learning_rate": 0.07, "average": 0.0,
        },
        budget=Budget(epochs=40),
        departs="weights are not normalised; the mask of the output is not that of the state in the recurrence too; "
        "the rate reaches its floor at the end, not at step 108,000 of 180,000; only W_hh begins orthogonal; the "
        "embedding begins N(0, 1), not in +-0.2",
    ),
    "best": Preset(
        source="charrnn's own, for a text of some millions of characters; measured on War and Peace (help results)",
        model={"cell": "lstm", "num_layers": 2, "hidden_size": 512, "embedding_size": 64, "dropout": 0.3},
        training={
            "batch_size": 16, "bptt": 128, "state_reset": 0.01, "optimizer": "muon", "cautious": True,
            "learning_rate": 1.2e-2, "muon_ratio": 0.33, "beta2": 0.99, "weight_decay": 0.01, "clip_norm": 1.0,
            "warmup": 50, "decay": "linear", "average": 0.05,
        },
        budget=Budget(minutes=88),
        data={},
    ),
}  # fmt: skip
"""By name."""
