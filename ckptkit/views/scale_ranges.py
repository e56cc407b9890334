"""The values of stored scales by layer: of weights, of inputs, of the KV cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scale_table import ScaleTable
from ckptkit.model.values import ScaleValues
from ckptkit.storage.payload import TensorRef
from ckptkit.views.by_layer import Chart, Measurement, by_layer

WEIGHT_SCALES, INPUT_SCALES, ATTENTION_SCALES = "weight scale", "input scale", "KV-cache scale"

#: Tensor name -> the scale and what its values are.
Values = Mapping[str, tuple[TensorRef, ScaleValues]]


def read_values(checkpoint: Checkpoint) -> Values:
    """Every scale's values; scales are the only bytes that are read."""
    return ScaleTable(checkpoint.container, checkpoint.scale_tensors())


def scale_charts(checkpoint: Checkpoint, values: Values) -> tuple[Chart, ...]:
    """A chart for each role whose scales are stored. Zeros and what is no number are for rules to find."""
    charts = (
        by_layer(WEIGHT_SCALES, _of_modules(checkpoint, values, "weight_scale")),
        by_layer(INPUT_SCALES, _of_modules(checkpoint, values, "input_scale")),
        by_layer(ATTENTION_SCALES, _of_attention(checkpoint, values)),
    )
    return tuple(chart for chart in charts if chart.panels or chart.alone)


def _of_modules(checkpoint: Checkpoint, values: Values, role: str) -> Iterator[Measurement]:
    for module in checkpoint.modules.values():
        scale = module.weight_scale if role == "weight_scale" else module.input_scale
        if scale is not None and scale.name in values:
            known = values[scale.name][1]
            yield Measurement(module.name, known.minimum, known.maximum)


def _of_attention(checkpoint: Checkpoint, values: Values) -> Iterator[Measurement]:
    """Under the names that most formats give them, whatever this one calls them."""
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        for role, scale in attention.stored().items():
            if scale.name in values:
                known = values[scale.name][1]
                yield Measurement(names.join(attention.module, f"{role}_scale"), known.minimum, known.maximum)
