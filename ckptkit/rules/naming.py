"""CK2xx: names of scales and modules, and what they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.skip_lists import declared_by, matchers_of
from ckptkit.engines.architectures import EXPERT_PARTS, RELEASED_PREFIXES, SINGLE_EXPERTS_LEFT_OUT
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.engines.outcomes import outcomes_of
from ckptkit.errors import Fault, plural
from ckptkit.model import names
from ckptkit.model.census import is_fp8

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
#: Endings of weights that another kind of quantization has packed; CK626 speaks of those.
PACKED_ENDINGS = frozenset({"weight_packed", "qweight", "qzeros", "g_idx", "weight_shape", "weight_zero_point"})
_VLLM = ENGINES["vllm"].version
_LAYER = re.compile(r"^(.*?)(?:^|\.)layers\.\d+\.")


@rule("CK201", "weight-scale-missing", Severity.ERROR)
def weight_scale_missing(context: Context) -> Iterator[Fault]:
    """A quantized weight has no scale under any known name.

    Why it hurts: vLLM does not notice. The scale keeps the value it was allocated with (-3.4e38), and the layer
    computes garbage. If only the last part of a fused layer lacks its scale, the result is even plausible.

    Example: ``model.layers.3.mlp.up_proj.weight`` is F8_E4M3 and ``model.layers.3.mlp.up_proj.weight_scale`` is
    nowhere.

    Mend: export again; a scale cannot be made up.
    """
    tensors = context.container.tensors
    for module in context.modules:
        if module.weight_scale is None and not any(f"{module.name}.{e}" in tensors for e in _OTHER_SPELLINGS):
            yield Fault(
                "weight-scale-missing",
                "the weight is FP8 but no scale is stored for it",
                module.weight.shard,
                module.weight.name,
                expected=names.join(module.name, "weight_scale"),
                found="nothing",
                help="export the checkpoint again; the scale cannot be recovered",
            )


_OTHER_SPELLINGS = ("weight_scale_inv", "scale_weight", "scale", "weight_quantizer.scale")


@rule("CK202", "orphan-scale", Severity.ERROR, fix="safe")
def orphan_scale(context: Context) -> Iterator[Fault]:
    """A scale is stored for a weight that is absent or not quantized.

    Why it hurts: vLLM stops because no parameter has that name. Readers that skip unknown names hide that the weight
    beside the scale is not what the exporter believed.

    Example: ``lm_head.weight_scale`` beside a BF16 ``lm_head.weight`` that the config excludes.

    Mend: drop the scale, or restore the weight that it belongs to.
    """
    stacked = frozenset(context.stacked_experts.values())
    for tensor in context.checkpoint.orphans if context.checkpoint else ():
        if tensor in stacked:  # CK207 has a word for both
            continue
        yield Fault(
            "orphan-scale",
            "the scale belongs to no quantized module",
            tensor.shard,
            tensor.name,
            expected="an FP8 weight beside it",
            found="none that the config declares quantized",
            help="drop the scale, or mend the config if the weight is meant to be quantized",
        )


@rule("CK203", "scale-name-of-other-dialect", Severity.ERROR, fix="safe")
def scale_name_of_other_dialect(context: Context) -> Iterator[Fault]:
    """A weight scale has the name that another dialect gives it: ``weight_scale`` and ``weight_scale_inv`` mixed up.

    Why it hurts: each loader registers one of the two names and stops at the other. Both hold the multiplier; the
    name does not say that a value is inverted. In Quark checkpoints the longer name is CK204.

    Example: ``q_proj.weight_scale_inv`` in a compressed-tensors checkpoint, or ``q_proj.weight_scale`` where
    ``quant_method: fp8`` has a ``weight_block_size``.

    Mend: rename the tensors and the index entries; no byte of them changes.
    """
    wanted = _scale_name(context)
    if wanted is None:
        return
    wrong = "weight_scale" if wanted.endswith("_inv") else "weight_scale_inv"
    for name, tensor in context.container.tensors.items():
        if name.endswith(wrong) and name.rpartition(".")[2] == wrong:
            yield Fault(
                "scale-name-dialect",
                "loaders of this dialect register the scale under another name",
                tensor.shard,
                name,
                expected=names.join(tensor.module, wanted),
                found=wrong,
                help="rename it; both names hold the multiplier",
            )


def _scale_name(context: Context) -> str | None:
    """What the declared dialect calls a weight scale; None where several names are fine."""
    if context.method == "compressed-tensors":
        return "weight_scale"
    if context.method == "fp8" and context.checkpoint is None:
        return "weight_scale_inv" if context.block.get("weight_block_size") else "weight_scale"
    return "weight_scale" if context.method == "modelopt" else None


@rule("CK204", "legacy-scale-name", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def legacy_scale_name(context: Context) -> Iterator[Fault]:
    """A scale is stored under a name of an older exporter or of a raw dump.

    Why it hurts: ``*_quantizer.scale`` and ``weight_scale_inv`` in a Quark checkpoint hold the right numbers, but
    vLLM knows no parameter of that name, and tools that skip unknown names leave the weights unscaled.

    Example: ``model.layers.0.mlp.up_proj.weight_quantizer.scale`` as early Quark exports wrote it.

    Mend: rename it; a conversion does.
    """
    if context.checkpoint is None or context.checkpoint.format != "quark":
        return
    for module in context.modules:
        for tensor, wanted in ((module.weight_scale, "weight_scale"), (module.input_scale, "input_scale")):
            if tensor is not None and tensor.name != names.join(module.name, wanted):
                yield Fault(
                    "legacy-scale-name",
                    "engines know this scale under another name",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(module.name, wanted),
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                )


@rule("CK206", "module-prefix-unusual", Severity.WARNING)
def module_prefix_unusual(context: Context) -> Iterator[Fault]:
    """The modules' prefix is not the one under which the architecture is released.

    Why it hurts: engines map released names. Under another prefix some drop most weights and start all the same;
    skip lists that were written for one prefix stop matching under the other.

    Example: ``language_model.model.layers.0...`` in a checkpoint of ``Qwen3ForCausalLM``.

    Mend: rename the prefix in tensors, index and skip list together.
    """
    released = RELEASED_PREFIXES.get(context.dimensions.architecture or "")
    if released is None:
        return
    found: Counter[str] = Counter()
    for name in (*context.outside_experts, *context.experts):
        if ".layers." in name or name.startswith("layers."):
            match = _LAYER.match(f"{name}.")
            if match is not None:
                found[match[1]] += 1
    strange = {prefix: count for prefix, count in found.items() if prefix not in released}
    if found and sum(strange.values()) * 2 > sum(found.values()):
        worst = max(strange, key=lambda prefix: strange[prefix])
        yield Fault(
            "module-prefix",
            f"{strange[worst]} modules have a prefix under which {context.dimensions.architecture} is not released",
            "config.json",
            expected=" or ".join(f"{prefix}.layers" if prefix else "layers" for prefix in sorted(released)),
            found=f"{worst}.layers" if worst else "layers",
        )


@rule("CK207", "expert-layout", Severity.WARNING)
def expert_layout(context: Context) -> Iterator[Fault]:
    """Experts are stored in a layout that engines do not map: fused in three dimensions, or under other names.

    Why it hurts: quantizers that look for two-dimensional ``.weight`` tensors pass fused experts by, so that the
    config calls quantized what is stored in high precision. Experts under names that the architecture does not use
    stay at random values in transformers; vLLM maps some of them and stops at others. Fused experts that the skip list
    names are meant to be as they are.

    Example: ``mlp.experts.gate_up_proj`` [4, 128, 64] in BF16 under a config that quantizes every linear layer, or
    Mixtral experts called ``gate_proj`` where the model has ``w1``.

    Mend: split the experts into one module each before quantizing; rename them to what the architecture uses.
    """
    yield from _fused_experts(context)
    yield from _stacked_experts(context)
    yield from _experts_left_out(context)
    parts = EXPERT_PARTS.get(context.dimensions.architecture or "")
    if parts is None:
        return
    wrong: dict[str, tuple[str, bool]] = {}
    for name in context.linear_names:
        position = name.find(".experts.")
        if position < 0 or ".shared_experts." in name:
            continue
        last = names.last_part(name)
        misplaced = not name[: position + len(".experts")].endswith(parts.container)
        if misplaced or last not in parts.projections:
            wrong.setdefault(last, (name, misplaced))
    for last, (name, misplaced) in wrong.items():
        known = last in parts.known_to_vllm and not misplaced
        vllm = () if known else (Effect("vllm", _VLLM, Outcome.ERROR if misplaced else Outcome.SILENT, "not mapped"),)
        yield Observation(
            "expert-names",
            f"{context.dimensions.architecture} has no experts of this name",
            None,
            name,
            expected=f"{parts.container}.N.{'/'.join(parts.projections)}",
            found=last,
            engines=(*outcomes_of("CK207"), *vllm),
        )


def _fused_experts(context: Context) -> Iterator[Fault]:
    """Experts in three dimensions, in FP8 or where the config calls them quantized."""
    fused = [t for t in context.container.tensors.values() if len(t.shape) == 3 and ".experts" in t.name]
    if not fused or context.checkpoint is None:
        return
    listed, covered = matchers_of(context).values(), declared_by(context, "vllm")
    for tensor in fused:
        if tensor.name in context.stacked_experts:
            continue
        if is_fp8(tensor.dtype):
            message = "fused experts in FP8: few engines map their scales"
        elif not covered(tensor.name) or any(matches(n) for matches in listed for n in (tensor.module, tensor.name)):
            continue
        else:
            message = "fused experts are in high precision, and the config calls them quantized"
        yield Observation(
            "expert-layout",
            message,
            tensor.shard,
            tensor.name,
            expected="one 2-D weight for each expert, or the experts in the skip list",
            found=f"{tensor.dtype} {list(tensor.shape)}",
            engines=(Effect("vllm", _VLLM, Outcome.SILENT, "FP8 experts are built, and filled by value"),),
        )


def _stacked_experts(context: Context) -> Iterator[Observation]:
    """Experts in three dimensions with a scale beside them: sound, for the few classes that store them so."""
    for weight in context.checkpoint.stored_only if context.checkpoint else ():
        scale = context.stacked_experts.get(weight.name)
        if scale is not None:
            yield Observation(
                "experts-stacked",
                "all experts of a layer are one FP8 tensor: few classes load that, as Granite in vLLM does",
                weight.shard,
                weight.name,
                expected="one 2-D weight for each expert where other engines are to load it",
                found=f"{weight.dtype} {list(weight.shape)}, scale {list(scale.shape)}",
                engines=(),
                severity=Severity.INFO,
            )


def _experts_left_out(context: Context) -> Iterator[Observation]:
    """Single experts of a class that transformers holds in one tensor, without a mapping between the two."""
    architecture = context.dimensions.architecture
    if context.method != "compressed-tensors" or architecture not in SINGLE_EXPERTS_LEFT_OUT:
        return
    single = [name for name in context.linear_names if names.experts_owner(name) is not None]
    if single:
        yield Observation(
            "experts-left-out",
            f"transformers maps no single experts for {architecture}: they stay at random values",
            None,
            single[0],
            found=plural(len(single), "module"),
            engines=outcomes_of("CK207"),
        )


@rule("CK208", "foreign-quantizer-tensor", Severity.ERROR, fix="unsafe")
def foreign_quantizer_tensor(context: Context) -> Iterator[Fault]:
    """A quantizer's internal tensor, or another format's scale, is stored in the checkpoint.

    Why it hurts: ``_amax``, zero points, ``activation_scale``, adapter leftovers and the like have no place in this
    format; engines refuse the name, or drop the tensor and with it the number that mattered.

    Example: ``model.layers.0.self_attn.q_proj.input_quantizer._amax`` in a finished export.

    Mend: export again, or rename the tensor to what the format calls it.
    """
    if context.checkpoint is None:
        return
    dialect = _scale_name(context)
    for tensor in context.checkpoint.foreign:
        last = tensor.name.rpartition(".")[2]
        if last in PACKED_ENDINGS or (dialect is not None and last == "weight_scale_inv"):
            continue
        legacy = any(tensor.name.endswith(f".{ending}") for ending in _LEGACY_ENDINGS)
        yield Fault(
            "foreign-quantizer-tensor",
            f"{context.checkpoint.format} has no use for this tensor",
            tensor.shard,
            tensor.name,
            expected="the name that the format gives it" if legacy else "no such tensor",
            found=last,
            help="rename it if it is a scale" if legacy else "export the checkpoint again without it",
        )
    for tensor in context.checkpoint.plain:
        if ".base_layer." in tensor.name or ".lora_" in tensor.name:
            yield Fault(
                "foreign-quantizer-tensor",
                "an adapter's name: engines know no such module",
                tensor.shard,
                tensor.name,
                expected="merged weights under their own names",
                found="base_layer or lora",
                help="merge the adapter before exporting",
            )
