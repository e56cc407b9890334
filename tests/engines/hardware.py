"""Schemes as engines' tables of kernels speak of them, and what those say: shared by tests here and by those that ask
engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptkit.engines.base import Engine
from ckptkit.engines.gpus import Gpu
from ckptkit.engines.kernels import on_gpu
from ckptkit.engines.layers import Layer
from ckptkit.engines.support import Answer, Judgement, Part
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import OtherScheme, Quantization

_WEIGHTS = {"per-tensor": PerTensor(), "per-channel": PerChannel(), "per-block": PerBlock(128, 128)}
_INPUTS = {
    "none": None,
    "static per-tensor": Quantization(PerTensor()),
    "dynamic per-tensor": Quantization(PerTensor(), dynamic=True),
    "dynamic per-token": Quantization(PerToken(), dynamic=True),
    "dynamic per-group": Quantization(PerGroup(128), dynamic=True),
}


@dataclass(frozen=True)
class Question:
    """A scheme in a kind of layer, of a dialect of a format."""

    layer: Layer
    dialect: str
    weights: str = "per-tensor"
    inputs: str = "none"
    other: str = ""

    def __str__(self) -> str:
        if self.other:
            return f"{self.dialect}: {self.layer.value} in {self.other}"
        return f"{self.dialect}: {self.layer.value} with {self.weights} weights, {self.inputs} inputs"

    def to_json(self) -> dict[str, Any]:
        """As drivers are asked."""
        layer = "experts" if self.layer is Layer.EXPERT else "linear"
        return {
            "layer": layer,
            "format": self.dialect,
            "weights": self.weights,
            "inputs": self.inputs,
            "other": self.other,
        }

    def judged(self, engine: Engine, gpu: Gpu) -> Judgement:
        """What an engine's table of kernels says, of what the engine has somewhere."""
        weight = Quantization(_WEIGHTS[self.weights])
        other = OtherScheme(self.other, "as the format stores it") if self.other else None
        part = Part(self.layer, weight, _INPUTS[self.inputs], "x", other)
        (found,) = on_gpu(engine, [Judgement(part, Answer.SUPPORTED)], self.dialect, None, gpu)
        return found


_CT = "compressed-tensors"
#: Every scheme that vLLM has in linear layers, and in experts.
QUESTIONS = (
    *(Question(Layer.LINEAR, _CT, other=other) for other in ("NVFP4", "NVFP4A16", "MXFP8")),
    *(
        Question(Layer.LINEAR, _CT, weights, inputs)
        for weights in ("per-tensor", "per-channel")
        for inputs in ("none", "static per-tensor", "dynamic per-tensor", "dynamic per-token")
    ),
    Question(Layer.LINEAR, _CT, "per-block", "dynamic per-group"),
    Question(Layer.LINEAR, "fp8", "per-tensor", "static per-tensor"),
    Question(Layer.LINEAR, "fp8", "per-tensor", "dynamic per-token"),
    Question(Layer.LINEAR, "fp8-block", "per-block", "dynamic per-group"),
    Question(Layer.LINEAR, "quark", "per-tensor", "static per-tensor"),
    Question(Layer.LINEAR, "quark", "per-tensor", "dynamic per-tensor"),
    Question(Layer.LINEAR, "quark", "per-channel", "dynamic per-token"),
    Question(Layer.LINEAR, "modelopt", "per-tensor", "static per-tensor"),
    Question(Layer.LINEAR, "modelopt", "per-channel", "dynamic per-token"),
    Question(Layer.LINEAR, "modelopt", "per-block", "dynamic per-group"),
    Question(Layer.EXPERT, _CT, "per-tensor", "static per-tensor"),
    Question(Layer.EXPERT, _CT, "per-tensor", "dynamic per-tensor"),
    Question(Layer.EXPERT, _CT, "per-channel", "dynamic per-token"),
    Question(Layer.EXPERT, _CT, "per-block", "dynamic per-group"),
    Question(Layer.EXPERT, "fp8", "per-tensor", "static per-tensor"),
    Question(Layer.EXPERT, "fp8", "per-tensor", "dynamic per-tensor"),
    Question(Layer.EXPERT, "fp8-block", "per-block", "dynamic per-group"),
    Question(Layer.EXPERT, "quark", "per-tensor", "static per-tensor"),
    Question(Layer.EXPERT, "quark", "per-channel", "dynamic per-token"),
    Question(Layer.EXPERT, "modelopt", "per-tensor", "static per-tensor"),
)
