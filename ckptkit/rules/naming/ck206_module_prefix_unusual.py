"""CK206 module-prefix-unusual."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Module, Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.architectures import COMPOSITE_PREFIXES, EXPERT_PARTS, RELEASED_PREFIXES
from ckptkit.engines.layer_parts import LAYER_PARTS, part_of
from ckptkit.engines.prediction import is_mtp
from ckptkit.errors import Fault
from ckptkit.model import names

#: Other prefixes of models with towers, and the variant of each.
_OTHERS = {"model": "no-language-model", "language_model.model": "language-model-first"}
#: Prefixes of a language model that has towers beside it.
_BESIDE_TOWERS = frozenset({"language_model", "language_model.model", "model.language_model"})
_LAYER = re.compile(r"^(.*?)(?:^|\.)layers\.\d+\.")


@rule(
    "CK206",
    "module-prefix-unusual",
    Severity.WARNING,
    reports=(
        "sgl-project/sglang#38618",
        "vllm-project/vllm#50355",
        "hiyouga/LlamaFactory#8338",
        "vllm-project/vllm#19643",
    ),
)
def module_prefix_unusual(context: Context) -> Iterator[Fault]:
    """Modules have another prefix, or are in other parts of a layer, than the architecture is released with.

    Why it hurts: engines map released names. Under another prefix some drop most weights and start all the same;
    skip lists that were written for one prefix stop matching under the other.

    Example: ``language_model.model.layers.0...`` in a checkpoint of ``Qwen3ForCausalLM``, or ``mlp.shared_expert`` in
    one of ``DeepseekV3ForCausalLM``, whose layers have ``mlp.shared_experts``.

    Fix: rename modules in tensors, index and skip list together.
    """
    yield from _prefix(context)
    yield from _parts(context)


def _prefix(context: Context) -> Iterator[Fault]:
    architecture = context.dimensions.architecture or ""
    released = RELEASED_PREFIXES.get(architecture, COMPOSITE_PREFIXES.get(architecture))
    # Of a class whose layers are known, and no more, only a prefix that towers are beside is strange for sure.
    decoders = released is None and "self_attn" in LAYER_PARTS.get(architecture, ())
    if released is None and not decoders:
        return
    released = released or frozenset({"model"})
    found: Counter[str] = Counter()
    for name in (*context.outside_experts, *context.experts):
        if ".layers." in name or name.startswith("layers."):
            match = _LAYER.match(f"{name}.")
            if match is not None:
                found[match[1]] += 1
    raw = any(names.last_part(name) in names.RAW_GATED for name in context.outside_experts)
    strange = {prefix: count for prefix, count in found.items() if prefix not in released}
    if found and sum(strange.values()) * 2 > sum(found.values()):
        worst = max(strange, key=lambda prefix: strange[prefix])
        if decoders and worst not in _BESIDE_TOWERS:
            return
        yield Observation(
            "module-prefix",
            f"{strange[worst]} modules have a prefix under which {context.dimensions.architecture} is not released",
            "config.json",
            expected=" or ".join(f"{prefix}.layers" if prefix else "layers" for prefix in sorted(released)),
            found=f"{worst}.layers" if worst else "layers",
            variant=_OTHERS.get(worst)
            if architecture in COMPOSITE_PREFIXES
            else ("twice" if worst.removeprefix("model.") in released else None)
            if worst
            else f"bare{'/raw' * raw}",
        )


def _parts(context: Context) -> Iterator[Fault]:
    """Parts of layers that the class has none of, in place of its own: one fault for each. Experts have a rule of
    their own, and what is stored beside all that a layer has leaves nothing unset.
    """
    architecture = context.dimensions.architecture or ""
    known, checkpoint = LAYER_PARTS.get(architecture), context.checkpoint
    if known is None or checkpoint is None:
        return
    found: dict[str, str] = {}
    for kind in checkpoint.alike:
        part = part_of(kind.name)
        if part is not None and part not in known and not is_mtp(context.dimensions, kind.first.name):
            name = kind.first.name
            if part not in found or (names.fused_layer(name) and not names.fused_layer(found[part])):
                found[part] = name  # one that engines fuse, if there is any: they stop at these first
    for part, module in found.items():
        judged = part.endswith(".experts") and architecture in EXPERT_PARTS
        if not judged and _lacks_own(context, known, module, part):
            yield Observation(
                "module-prefix",
                f"layers of {architecture} have no {part}",
                None,
                module,
                expected=", ".join(sorted(known)),
                found=part,
                variant=f"part{'/raw' * (names.last_part(module) in names.RAW_GATED)}",
                subject=Module(module),
            )


def _lacks_own(context: Context, known: frozenset[str], module: str, part: str) -> bool:
    """Whether the layer of a module in a strange part lacks a part of its class, which may be what was meant."""
    layer = module[: module.index(f".{part}.") + 1]
    return any(not any(name.startswith(f"{layer}{own}.") for name in context.module_names) for own in known)
