"""CK208 foreign-quantizer-tensor, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Drop, Edit, Rename
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.rules.naming.scale_names import PACKED_ENDINGS, misnamed_scale, stored_tensor

#: Spellings of other formats and of older exporters -> what the number is.
_LEGACY_ENDINGS = frozenset(
    {
        "act_scale",
        "activation_scale",
        "scale_weight",
        "scale_input",
        "scale",
        "weight_quantizer.scale",
        "input_quantizer.scale",
        "output_quantizer.scale",
    }
)

#: What a quantizer's scale of a weight is called behind the module.
_OF_WEIGHT = ".weight_quantizer.scale"
#: The layer that an adapter stands around.
_INSIDE = ".base_layer"
#: How keys of config.json end that describe adapters which a model has of its own, as Phi-4 for speech and vision.
_OWN_ADAPTERS = "_lora"

#: Spellings of other formats and raw dumps -> what every format here calls that scale.
_SPELLINGS = {
    "weight_scale_inv": "weight_scale",
    "weight_quantizer.scale": "weight_scale",
    "scale_weight": "weight_scale",
    "input_quantizer.scale": "input_scale",
    "act_scale": "input_scale",
    "activation_scale": "input_scale",
    "scale_input": "input_scale",
}


@rule(
    "CK208",
    "foreign-quantizer-tensor",
    Severity.ERROR,
    reports=(
        "NVIDIA/Model-Optimizer#2038",
        "NVIDIA/Model-Optimizer#2064",
    ),
)
def foreign_quantizer_tensor(context: Context) -> Iterator[Fault]:
    """A quantizer's internal tensor, or another format's scale, is stored in the checkpoint.

    Why it hurts: ``_amax``, zero points, ``activation_scale``, adapter leftovers and the like have no place in this
    format; engines refuse the name, or drop the tensor and with it the number that mattered.

    Example: ``model.layers.0.self_attn.q_proj.input_quantizer._amax`` in a finished export.

    Fix: export again, or rename the tensor to what the format calls it.
    """
    if context.checkpoint is None:
        return
    misnamed = misnamed_scale(context)
    for tensor in context.checkpoint.foreign:
        last = tensor.name.rpartition(".")[2]
        if last in PACKED_ENDINGS or (misnamed is not None and last == misnamed[1]):
            continue
        legacy = any(tensor.name.endswith(f".{ending}") for ending in _LEGACY_ENDINGS)
        yield Observation(
            "foreign-quantizer-tensor",
            f"{context.checkpoint.format} has no use for this tensor",
            tensor.shard,
            tensor.name,
            expected="the name that the format gives it" if legacy else "no such tensor",
            found=last,
            help="rename it if it is a scale" if legacy else "export the checkpoint again without it",
            variant=_variant(context, tensor.name),
        )
    inside = (module.weight for module in context.modules if module.name.endswith(_INSIDE))
    for tensor in () if _has_adapters(context) else (*inside, *context.checkpoint.plain):
        if f"{_INSIDE}." in tensor.name or names.is_adapter(tensor.name):
            yield Observation(
                "foreign-quantizer-tensor",
                "an adapter's name: engines know no such module",
                tensor.shard,
                tensor.name,
                expected="merged weights under their own names",
                found="base_layer or lora",
                help="merge the adapter before exporting",
                variant=f"base-layer{'/fp8' * is_fp8(tensor.dtype)}" if _stands_in(context, tensor.name) else None,
            )


def _stands_in(context: Context, name: str) -> bool:
    """Whether a weight is stored inside an adapter's layer, and not under the module's own name."""
    owner, inside, last = name.partition(f"{_INSIDE}.")
    return bool(inside) and last == "weight" and names.join(owner, "weight") not in context.container.tensors


def _has_adapters(context: Context) -> bool:
    """Whether the model has adapters of its own, which config.json describes."""
    return any(key.endswith(_OWN_ADAPTERS) and isinstance(said, Mapping) for key, said in context.config.items())


def _variant(context: Context, name: str) -> str | None:
    """What engines tell apart: a second scale, one for k and v, that of a stack of experts, and another name."""
    modules = context.checkpoint.modules if context.checkpoint is not None else {}
    if name.endswith("_quantizer.scale"):
        of_weight = modules.get(name.removesuffix(_OF_WEIGHT)) if name.endswith(_OF_WEIGHT) else None
        return "only-scale" if of_weight is not None and of_weight.weight_scale is None else "second-scale"
    if name.endswith(".kv_scale"):
        return "kv-both"
    if ".experts." in name and name.endswith("_proj_scale"):
        return "stack-scale"
    module = names.parent(name)
    quantized = modules.get(module)
    alone = quantized is not None and quantized.weight_scale is None
    return "only-scale" if alone and name == names.join(module, "scale") else None


@fix("unsafe", "CK208")
def rename_foreign_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Take another tool's scale for what its name suggests, where an FP8 weight has none; drop what cannot be one."""
    tensor = stored_tensor(context, finding)
    if tensor is None:
        return
    for ending, wanted in _SPELLINGS.items():
        module = tensor.name.removesuffix(f".{ending}")
        weight = context.container.tensors.get(names.join(module, "weight"))
        if module == tensor.name or weight is None or not is_fp8(weight.dtype):
            continue
        if names.join(module, wanted) not in context.container.tensors:
            yield Rename(tensor.shard, tensor.name, names.join(module, wanted))
            return
    if tensor.name.endswith(("_amax", "zero_point", "zero_scale")):
        yield Drop(tensor.shard, tensor.name)
