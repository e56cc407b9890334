"""CK611 to CK628: modules that engines want in high precision, or alike, whatever the config allows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.storage.payload import TensorRef

_ROUTER = re.compile(r"(^|\.)(router(\.\w+)?|shared_expert_gate|(mlp|block_sparse_moe|feed_forward|moe)\.gate)$")
_PLAIN_LINEAR = frozenset({"eh_proj", "indexer", "weights_proj"})
_ROUTER_ENDS = ("gate", "router", "proj", "linear", "classifier")


@rule("CK611", "head-quantized", Severity.WARNING, conversion=OnConversion.CARRIED)
def head_quantized(context: Context) -> Iterator[Fault]:
    """The output head is stored in FP8.

    Why it hurts: plain fp8 and Quark have no quantized head in vLLM; SGLang drops its scale and repeats itself for
    ever; TensorRT-LLM forces it to BF16. Only a compressed-tensors target that names the head works in vLLM.

    Example: ``lm_head.weight`` F8_E4M3 with ``lm_head.weight_scale``.

    Mend: store the head in BF16 and list it in the skip list.
    """
    for module in _outside_experts(context):
        if module.name.endswith(names.LM_HEAD):
            message = "few engines load a quantized output head"
            yield Fault("head-quantized", message, module.weight.shard, module.weight.name, "BF16", module.weight.dtype)


@rule("CK612", "tower-quantized", Severity.WARNING, conversion=OnConversion.CARRIED)
def tower_quantized(context: Context) -> Iterator[Fault]:
    """Modules of a vision or audio tower, or of its projector, are stored in FP8.

    Why it hurts: many engines build towers unquantized whatever the config says: they stop at a tower's scale, or run
    it without one and the model ignores the image.

    Example: ``vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight`` F8_E4M3.

    Mend: store the tower in BF16 and list it under the names that the engine uses.
    """
    towers: dict[str, list[TensorRef]] = {}
    for module in _outside_experts(context):
        tower = names.other_tower(module.name)
        if tower is not None:
            towers.setdefault(tower, []).append(module.weight)
    for tower, weights in towers.items():
        message = f"{plural(len(weights), 'module')} of {tower} quantized"
        yield Fault("tower-quantized", message, weights[0].shard, weights[0].name, "BF16", weights[0].dtype)


@rule("CK613", "router-quantized", Severity.ERROR, conversion=OnConversion.CARRIED)
def router_quantized(context: Context) -> Iterator[Fault]:
    """The router of a mixture of experts, or the gate of its shared expert, is stored in FP8.

    Why it hurts: engines build routers unquantized and stop at the scale; where one loads, three mantissa bits choose
    the experts. A router in high precision that the skip list forgets is CK605.

    Example: ``model.layers.0.mlp.gate.weight`` F8_E4M3 [128, 2048].

    Mend: store the router in BF16 and list it in the skip list.
    """
    for module in _outside_experts(context):
        name = module.name
        if name.endswith(_ROUTER_ENDS) and _ROUTER.search(name):
            message = "a router chooses experts by small differences, and engines hold it in high precision"
            yield Fault(
                "router-quantized", message, module.weight.shard, module.weight.name, "BF16", module.weight.dtype
            )


@rule("CK615", "prediction-projection-quantized", Severity.WARNING, conversion=OnConversion.CARRIED)
def prediction_projection_quantized(context: Context) -> Iterator[Fault]:
    """The input projection of a prediction layer, or an indexer's projection, is stored in FP8.

    Why it hurts: vLLM's model files build these as plain linear layers and load the raw codes as values. Nothing
    stops; drafted tokens are never accepted.

    Example: ``model.layers.61.eh_proj.weight`` F8_E4M3.

    Mend: store it in BF16 and list it in the skip list.
    """
    for module in _outside_experts(context):
        last = names.last_part(module.name)
        if last in _PLAIN_LINEAR or (last == "fc" and module.name.startswith("mtp")):
            message = "engines build this projection unquantized and take the codes for values"
            weight = module.weight
            yield Fault("projection-quantized", message, weight.shard, weight.name, "BF16", weight.dtype)


@rule("CK628", "shared-expert-scheme-differs", Severity.INFO)
def shared_expert_scheme_differs(context: Context) -> Iterator[Fault]:
    """Shared and routed experts of one layer have different schemes.

    Why it hurts: ROCm's fusion of shared into routed experts is turned off, or fails; nothing else happens.

    Example: routed experts per channel, the shared expert in BF16.

    Mend: quantize both alike where that fusion matters.
    """
    shared: dict[str, str] = {}
    for name in context.outside_experts:
        position = name.find(".shared_expert")
        if position >= 0 and not name.endswith("_gate"):
            shared.setdefault(name[:position], _scheme(context, name))
    if not shared:
        return
    routed: dict[str, str] = {}
    for name in context.linear_names:
        position = name.find(".experts.")
        if position >= 0 and name[:position] not in routed:
            routed[name[:position]] = _scheme(context, name)
    seen: set[tuple[str, str]] = set()
    for owner, scheme in shared.items():
        other = routed.get(owner)
        if other is not None and other != scheme and (other, scheme) not in seen:
            seen.add((other, scheme))
            message = "shared and routed experts have different schemes"
            yield Fault("shared-scheme", message, None, owner, "one scheme", f"routed: {other}; shared: {scheme}")


def _scheme(context: Context, name: str) -> str:
    module = context.checkpoint.modules.get(name) if context.checkpoint else None
    return "not quantized" if module is None else str(module.scheme)


def _outside_experts(context: Context) -> Iterator[QuantizedModule]:
    """The quantized modules that are no part of a routed expert."""
    modules = context.checkpoint.modules if context.checkpoint is not None else {}
    for name in context.outside_experts if modules else ():
        module = modules.get(name)
        if module is not None:
            yield module
