"""The words that settings are chosen from."""

from __future__ import annotations

from typing import Literal

InitName = Literal["uniform", "orthogonal", "identity", "xavier", "chrono"]
SkipName = Literal["none", "residual", "dense", "sum"]
ActivationName = Literal["tanh", "relu", "modrelu"]
CouplingName = Literal["off", "tied", "min"]
ResetGateName = Literal["after", "before"]
ClipLossName = Literal["mean", "sum"]
OptimizerName = Literal["muon", "adamw", "schedule-free", "sgd", "rmsprop", "hessian-free"]
AVERAGING = ("schedule-free",)
"""Optimizers that keep an average of their own, which takes the place of a falling rate and of other averages."""
SEARCHING = ("hessian-free",)
"""Optimizers that search for the length of each step, so that nothing else sets or bounds it; the host makes it."""
DecayName = Literal["cosine", "linear", "constant"]
FreezeName = Literal["none", "recurrent", "echo"]
PrecisionName = Literal["auto", "fp32", "tf32", "fp16", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DecodeErrors = Literal["strict", "replace"]
Newlines = Literal["keep", "lf", "crlf", "cr"]
NormalForm = Literal["none", "nfc", "nfd", "nfkc", "nfkd"]
HeldOutName = Literal["end", "blocks", "files"]
SplitName = Literal["all", "train", "validation", "test"]
UnknownPolicy = Literal["error", "skip", "replace"]
WeightsName = Literal["float32", "float16", "int8"]
RunOrder = Literal["age", "best", "name", "minutes", "characters", "size"]
"""The columns by which the table of runs is sorted."""
PageWeights = Literal["int8", "float32"]
