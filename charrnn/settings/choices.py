"""The words that settings are chosen from.

Knows words. Refuses to know what they mean.
"""

from __future__ import annotations

from typing import Literal

InitName = Literal["uniform", "orthogonal", "identity", "xavier", "chrono"]
SkipName = Literal["none", "residual", "dense", "sum"]
ActivationName = Literal["tanh", "relu", "modrelu"]
CouplingName = Literal["off", "tied", "min"]
ClipLossName = Literal["mean", "sum"]
OptimizerName = Literal["muon", "adamw", "schedule-free", "sgd", "rmsprop"]
DecayName = Literal["cosine", "linear", "constant"]
FreezeName = Literal["none", "recurrent", "echo"]
PrecisionName = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DecodeErrors = Literal["strict", "replace"]
Newlines = Literal["keep", "lf"]
UnknownPolicy = Literal["error", "skip", "replace"]
WeightsName = Literal["float32", "int8"]
