"""Plain weights in FP8, by a preset of the target and without data: one pass over each weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptkit.conversion.grouped import announced_experts
from ckptkit.conversion.losses import TWO_STEPS
from ckptkit.conversion.prepare import scales_from, skips
from ckptkit.conversion.prepare.give_up import holds_heads
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.request import ConversionRequest
from ckptkit.engines.architectures import has_outputs_first
from ckptkit.engines.dimensions import Dimensions
from ckptkit.errors import ConversionRefused, Fault, UsageError
from ckptkit.formats.base import Changes
from ckptkit.formats.preset import Preset
from ckptkit.model import names
from ckptkit.model.census import stack_name
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.scheme import InputKind
from ckptkit.operations.dequantize import block_shape
from ckptkit.operations.outputs import computed
from ckptkit.operations.quantize import SOURCES
from ckptkit.record import record
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef

_SPLIT = "make a module of each (ckptkit convert --experts split)"


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Modules that are not on a skip list become FP8 ones, where the source is plain and the target has a preset."""
    checkpoint = prepared.checkpoint
    quantized = bool(checkpoint.modules or checkpoint.opaque)
    if checkpoint.modules and request.scheme is not None:
        _require_no_choices(request)
        return prepared
    chosen = None if quantized and request.scheme is None else _meant(request)
    if request.scheme is None and chosen is None:
        _require_no_choices(request)
        return prepared
    if quantized:
        what = ", ".join(str(scheme) for scheme in checkpoint.all_schemes)
        fault = Fault("quantized", "the weights are quantized already", None, None, "plain weights", what, TWO_STEPS)
        raise ConversionRefused(f"{checkpoint.container.label}: only plain weights are quantized", faults=[fault])
    if chosen is None:
        return prepared
    return _Quantizer(checkpoint, chosen, request).apply(prepared)


def _meant(request: ConversionRequest) -> Preset | None:
    """The preset that is named; else the usual one of the target, or the first one that the chosen mode holds."""
    found = request.preset
    if request.scheme is not None or found is None or request.mode is None:
        return found
    held = frozenset(scheme for _, capabilities in request.dialects for scheme in capabilities.schemes)
    presets = (found, *request.target.presets)
    kinds = {one.name: (type(one.scheme.weight.granularity), InputKind.of(one.scheme.input)) for one in presets}
    return next((one for one in presets if kinds[one.name] in held), found)


def _require_no_choices(request: ConversionRequest) -> None:
    """Choices that are only about quantizing must not be left aside without a word."""
    given = {
        "skip": request.skip,
        "default_skips": not request.default_skips,
    }
    for name, value in given.items():
        if value:
            raise UsageError(
                f"{name} is for quantizing plain weights", help="give a scheme (--scheme), or leave it out"
            )


@record
class _Quantizer:
    checkpoint: Checkpoint
    preset: Preset
    request: ConversionRequest

    def apply(self, prepared: Prepared) -> Prepared:
        """What is left to be said to the writer: FP8 modules, and the others as plain tensors."""
        checkpoint, preset = self.checkpoint, self.preset
        stacks = {stack_name(tensor): tensor for tensor in checkpoint.plain if self._is_stack(tensor)}
        weights = {**checkpoint.unquantized, **stacks}
        heads = not self.request.allow_lossy or holds_heads(self.request)
        sizes = Dimensions.of(checkpoint.config)
        chosen, skipped = skips.split(weights, preset, self.request, sizes, heads=heads)
        self._require_possible({name: weights[name] for name in chosen})
        modules: dict[str, QuantizedModule] = {}
        made: dict[TensorRef, OutputTensor] = {}
        for name in chosen:
            codes, scale = self._outputs(name, weights[name])
            modules[name] = QuantizedModule(name, preset.scheme, stand_in(codes), stand_in(scale))
            made |= {modules[name].weight: codes, stand_in(scale): scale}
        taken = frozenset(weights[name] for name in chosen)
        changed = replace(
            checkpoint,
            modules=modules,
            plain=tuple(tensor for tensor in checkpoint.plain if tensor not in taken),
            unquantized={name: tensor for name, tensor in checkpoint.unquantized.items() if name not in modules},
            fused_experts=tuple(o for o in checkpoint.fused_experts if not any(m.startswith(f"{o}.") for m in modules)),
        )
        changed, constants, notes = scales_from.taken(changed, self.request.scales, preset)
        reasons = (*self._reasons(), *skips.told(skipped, preset), *notes)
        changes = Changes(rounds=frozenset({"quantize"}), reasons=reasons)
        experts = announced_experts(checkpoint, modules, "fp8")
        return prepared.then(changed, {**made, **constants}, (), changes, config=experts)

    def _outputs(self, name: str, weight: TensorRef) -> tuple[OutputTensor, OutputTensor]:
        """The codes and the scale of one weight."""
        parameters = self.preset.arithmetic.parameters(weight.dtype, block_shape(self.preset.scheme.weight.granularity))
        codes = computed(weight.name, "quantize", (weight,), parameters, f"{self.preset.name}: FP8 codes")
        scale = computed(
            names.join(name, "weight_scale"), "quantization-scale", (weight,), parameters, "largest magnitudes over 448"
        )
        return codes, scale

    def _is_stack(self, tensor: TensorRef) -> bool:
        """Whether a tensor holds all experts of a layer."""
        return len(tensor.shape) == 3 and tensor.module in self.checkpoint.fused_experts

    def _require_possible(self, chosen: Mapping[str, TensorRef]) -> None:
        """Refuse weights that no preset is for, all at once; and a choice of nothing at all."""
        label = self.checkpoint.container.label
        if not chosen:
            raise ConversionRefused(
                f"{label}: there is nothing to quantize",
                help="choose other modules, or turn default_skips off (ckptkit convert --no-default-skips)",
            )
        faults = list(self._faults(chosen))
        if faults:
            raise ConversionRefused(f"{label}: some weights cannot be quantized to {self.preset.name}", faults=faults)

    def _faults(self, chosen: Mapping[str, TensorRef]) -> Iterator[Fault]:
        holds_stacks = any(
            d.capabilities is not None and d.capabilities.stacked_experts for d in self.request.target.dialects
        )
        by_block = min(block_shape(self.preset.scheme.weight.granularity)) > 0
        for name, weight in chosen.items():
            help_text = f"leave it as it is, by its name in skip (--skip): {name}"
            if weight.dtype not in SOURCES:
                wanted = ", ".join(sorted(SOURCES))
                yield Fault("dtype", "no float to quantize", weight.shard, weight.name, wanted, weight.dtype, help_text)
            elif 0 in weight.shape:
                message = "a weight without elements has no largest magnitude"
                yield Fault("empty", message, weight.shard, weight.name, "elements", str(list(weight.shape)), help_text)
            elif len(weight.shape) == 3 and not (holds_stacks and by_block):
                message = f"{self.request.target.name} has one module for each expert, and all of a layer are one stack"
                kind = names.generalise(name)
                help_text = f"{_SPLIT}, or leave them as they are, by {kind} in skip (--skip)"
                yield Fault("stacked-experts", message, weight.shard, weight.name, "2-D weights", "3-D", help_text)
            elif len(weight.shape) == 3 and not self._has_outputs_first(weight):
                message = "the experts of this stack have their inputs along the rows: a reader would take them wrongly"
                yield Fault(
                    "stacked-experts", message, weight.shard, weight.name, "[experts, outputs, inputs]",
                    str(list(weight.shape)), help_text,
                )  # fmt: skip

    def _has_outputs_first(self, weight: TensorRef) -> bool:
        sizes = Dimensions.of(self.checkpoint.config)
        return has_outputs_first(sizes.architecture, sizes.hidden, stack_name(weight), weight.shape)

    def _reasons(self) -> Iterator[str]:
        tool = self.preset.name
        yield f"{tool}: {self.preset.scheme}; scales and codes by the arithmetic of the tool that the name is from"
        if self.request.default_skips:
            return
        yield "nothing is skipped by default: engines build output heads, routers and towers in high precision"
