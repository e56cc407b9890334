"""What is known of plain ``fp8`` checkpoints, for which there is no reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ckptkit.errors import Fault
from ckptkit.formats import config as location
from ckptkit.formats.base import Family
from ckptkit.formats.dialect import Dialect, ScaleNames
from ckptkit.formats.fp8_fields import SKIP_LIST, field_faults
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import Container

NAME = "fp8"

PER_TENSOR = Dialect(
    format=NAME,
    name="per tensor",
    key="fp8",
    skip_list=SKIP_LIST,
    weight_scale=ScaleNames("weight_scale", ("weight_scale",)),
    input_scale=ScaleNames("input_scale", ("input_scale",), older=("act_scale",)),
    attention=MappingProxyType(
        {
            "k": ScaleNames("k_scale", ("k_scale", "k_proj.output_scale", "k_proj.k_scale")),
            "v": ScaleNames("v_scale", ("v_scale", "v_proj.output_scale", "v_proj.v_scale")),
        }
    ),
    endings=MappingProxyType({}),
    schema="fp8",
    kv_key="kv_cache_scheme",
)
BLOCK = Dialect(
    format=NAME,
    name="block",
    key="fp8-block",
    skip_list=SKIP_LIST,
    weight_scale=ScaleNames("weight_scale_inv", ("weight_scale_inv",)),
    input_scale=ScaleNames("input_scale"),
    endings=MappingProxyType({}),
    schema="fp8",
)
#: Where ``weight_block_size`` is no list, nobody can tell what a scale should be called: neither name is wrong.
UNCLEAR = replace(PER_TENSOR, weight_scale=ScaleNames("weight_scale", ("weight_scale", "weight_scale_inv")))


class PlainFp8(Family):
    """vLLM's and AutoFP8's per-tensor layout, and DeepSeek's blocks."""

    name = NAME
    dialects = (PER_TENSOR, BLOCK)

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container; None when it is not ours."""
        located = location.locate(container.config)
        if located is None or location.quant_method(located.block) != NAME:
            return None
        blocks = located.block.get("weight_block_size")
        if blocks is not None and not isinstance(blocks, list):
            return UNCLEAR
        return BLOCK if blocks else PER_TENSOR

    def describe(self, container: Container) -> str:
        """What a container of ours holds, in a few words."""
        located = location.locate(container.config)
        return f"quant_method {NAME!r} ({_layout(located.block if located else {})})"

    def config_faults(
        self, container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None
    ) -> Iterable[Fault]:
        """What a config of ours says that some reader takes wrongly."""
        located = location.locate(container.config)
        return field_faults(located.block) if located else ()


def _layout(block: dict[str, Any]) -> str:
    size, inputs = block.get("weight_block_size"), block.get("activation_scheme")
    if "weight_block_size" not in block:
        layout = "vLLM/AutoFP8 or DeepSeek block FP8"
    elif isinstance(size, list) and len(size) == 2:
        layout = f"DeepSeek block FP8, blocks of {size[0]!r:.9}x{size[1]!r:.9}"
    else:
        layout = "vLLM/AutoFP8, one scale for each tensor"
    return f"{layout}, {inputs} activations" if inputs in ("static", "dynamic") else layout
