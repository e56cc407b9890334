"""CK604 modelopt-quantized-nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import CONFIG_FILE

#: Rows of a block, as a reader has it that takes such a config for another quantization.
_ROWS = 128


@rule(
    "CK604",
    "modelopt-quantized-nothing",
    Severity.WARNING,
    reports=(
        "NVIDIA/Model-Optimizer#2203",
        "vllm-project/vllm-omni#4202",
    ),
)
def modelopt_quantized_nothing(context: Context) -> Iterator[Fault]:
    """A ModelOpt config names no algorithm, or mixed precision without a single layer, or without one in NVFP4.

    Why it hurts: the quantizer's patterns matched nothing. The export looks finished, and engines stop at the missing
    algorithm or serve a BF16 model under an FP8 name. SGLang takes mixed precision without NVFP4 for INT4 experts
    beside FP8 in blocks of 128x128, whatever the layers say.

    Example: ``{"quantization": {"quant_algo": null}}`` in ``hf_quant_config.json``.

    Fix: export again with patterns that match.
    """
    known = () if context.dialect is None else (CONFIG_FILE, *context.dialect.side_files)
    alone = config_block.locate(context.config) is None
    for fault in context.faults("modelopt-nothing"):
        beside = "side-alone" if alone else None
        yield Observation.of(fault, variant="beside-another" if known and fault.file not in known else beside)
    for fault in context.faults("modelopt-mixed-fp8"):
        if context.checkpoint is not None and not (known and fault.file not in known):
            yield from _mixed_alone(context, context.checkpoint, fault)


def _mixed_alone(context: Context, checkpoint: Checkpoint, fault: Fault) -> Iterator[Observation]:
    """One fault for each kind of layer: what a reader of blocks makes of these hangs on their kinds and sizes."""
    tensors = context.container.tensors
    merged = (names.join(name, "weight") for group in context.fused_groups for name in group.members)
    # Its list is not read either: what is plain counts as well.
    cut = any(tensors[name].shape[0] % _ROWS for name in merged if name in tensors and tensors[name].shape)
    kinds: dict[Layer, str] = {}
    for name in checkpoint.modules:
        kinds.setdefault(layer_of(name), name)
    for name in kinds.values():
        found = replace(fault, tensor=names.join(name, "weight"))
        yield Observation.of(found, variant=f"fp8-alone{'/cut' * cut}")
