"""MXFP4 and MXFP8 modules as FP8 in blocks, with a certificate: which blocks keep every value, told by scales alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptkit.conversion.grouped import announcement, drops, elements_of, weight_name
from ckptkit.conversion.losses import ALLOW_LOSS
from ckptkit.conversion.prepare.prepared import Prepared, stand_in
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import ConversionRefused, Fault, plural
from ckptkit.formats.base import Changes
from ckptkit.model.checkpoint import Checkpoint, OpaqueModule, Part, QuantizedModule
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.operations import mx
from ckptkit.operations.dequantize import block_shape
from ckptkit.operations.outputs import computed
from ckptkit.record import record
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef

_USUAL = Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True))
#: How many blocks that are not exact are named.
_NAMED = 3


@record
class Certificate:
    """What the scales of one module say: its blocks, those of them that are not exact, and the exponents of these.

    ``inexact`` holds the first of them: the place [row of blocks, column] (an expert before it in a stack) and how far
    its exponents spread. ``worst`` is the exponent of the largest scale among blocks that are not exact.
    """

    blocks: int
    rounded: int
    inexact: tuple[tuple[tuple[int, ...], int], ...]
    worst: int | None


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Microscaling modules become FP8 in blocks where the target does not carry them, or where that is asked for."""
    if request.target.weight_dtype is not None:
        return prepared
    checkpoint = prepared.checkpoint
    carried = frozenset[str]() if request.mx_to_fp8 else _carried(request)
    chosen = {
        name: kind
        for name, module in checkpoint.opaque.items()
        if module.scheme.storage not in carried and (kind := elements_of(module)) is not None
    }
    if not chosen:
        return prepared
    scheme = next((s for s in checkpoint.schemes if _takes_groups(s)), _USUAL)
    block = block_shape(scheme.weight.granularity)
    certificates = dict(_certificates(checkpoint, chosen, (block[0], block[1])))
    made: dict[TensorRef, OutputTensor] = {}
    modules: dict[str, QuantizedModule] = {}
    for name, kind in chosen.items():
        weight, scale = _tensors(checkpoint.opaque[name], kind, block, certificates[name])
        refs = stand_in(weight), stand_in(scale)
        made.update(zip(refs, (weight, scale), strict=True))
        modules[name] = QuantizedModule(name, scheme, *refs)
    left = {name: module for name, module in checkpoint.opaque.items() if name not in chosen}
    gone = [checkpoint.opaque[name] for name in chosen]
    codes = {name: made[module.weight] for name, module in modules.items()}
    result = replace(checkpoint, modules={**checkpoint.modules, **modules}, opaque=left)
    rounded = {name: found for name, found in certificates.items() if found.rounded}
    changes = Changes(
        lossy=frozenset({"mx-to-blocks"}),
        reasons=tuple(_reasons(checkpoint, chosen, certificates, block)),
    )
    refusals = () if request.allow_lossy else tuple(_refusals(checkpoint, rounded))
    announced = announcement(checkpoint, left, "fp8")
    return prepared.then(result, made, tuple(drops(gone, codes)), changes, refusals, config=announced)


def _carried(request: ConversionRequest) -> frozenset[str]:
    """The storages that some dialect of the target holds as they are."""
    held = [capabilities.other_storages for _, capabilities in request.dialects]
    return frozenset[str]().union(*held)


def _takes_groups(scheme: Scheme) -> bool:
    """Whether the blocks of a scheme hold whole groups, so that new modules can share it."""
    block = scheme.weight.granularity
    return isinstance(block, PerBlock) and block.columns % mx.GROUP == 0 and scheme.output is None


def _tensors(
    module: OpaqueModule, kind: str, block: list[int], certificate: Certificate
) -> tuple[OutputTensor, OutputTensor]:
    """The weight in FP8 and its scale."""
    weight, scale = module.weight, module.parts[Part.SCALE]
    common = {"elements": kind, "block_shape": block}
    worst = {} if certificate.worst is None else {"worst": certificate.worst}
    inputs = (scale,) if weight is None else (weight, scale)
    codes = computed(
        weight_name(module), "mx-to-blocks", inputs, {**common, **worst}, "FP8 in blocks with powers of two"
    )
    grid = computed(
        f"{module.name}.weight_scale", "mx-block-scales", (scale,), {**common, "dtype": "F32"}, "a power of two a block"
    )
    return codes, grid


def _certificates(
    checkpoint: Checkpoint, chosen: Mapping[str, str], block: tuple[int, int]
) -> Iterator[tuple[str, Certificate]]:
    """Read the scales and judge every block. Raises ConversionRefused for scales that are no numbers."""
    scales = {checkpoint.opaque[name].parts[Part.SCALE]: name for name in chosen}
    faults = []
    for tensor, data in checkpoint.container.read_many(scales):
        found = certificate(data, tensor, chosen[scales[tensor]], block)
        if found is None:
            message = "a scale of a group is no number"
            faults.append(Fault("mx-scale", message, tensor.shard, tensor.name, "E8M0 codes below 255", "255"))
        else:
            yield scales[tensor], found
    if faults:
        raise ConversionRefused(f"{checkpoint.container.label}: scales are no numbers", faults=faults)


def certificate(data: bytes, scale: TensorRef, kind: str, block: tuple[int, int]) -> Certificate | None:
    """What the E8M0 codes of a scale [..., N, K/32] say of the blocks over it; None where one is no number."""
    import numpy as np

    codes = np.frombuffer(data, np.uint8).reshape(-1, *scale.shape[-2:])
    if (codes == mx.NAN).any():
        return None
    element = mx.ELEMENTS[kind]
    blocks = rounded = 0
    first: list[tuple[tuple[int, ...], int]] = []
    worst: int | None = None
    for expert, part in enumerate(codes):
        tops, least = mx.block_exponents(part, block), mx.least_exponents(part, block)
        spread = np.where(least > tops, 0, tops - least)
        off = spread > element.top - element.exact
        blocks += spread.size
        if not off.any():
            continue
        rounded += int(off.sum())
        largest = int(mx.scale_exponents(tops, kind)[off].max())
        worst = largest if worst is None else max(worst, largest)
        before = (expert,) if len(scale.shape) == 3 else ()
        for row, column in np.argwhere(off)[: _NAMED - len(first)]:
            first.append(((*before, int(row), int(column)), int(spread[row, column])))
    return Certificate(blocks, rounded, tuple(first), worst)


def _reasons(
    checkpoint: Checkpoint, chosen: Mapping[str, str], certificates: Mapping[str, Certificate], block: list[int]
) -> Iterator[str]:
    """What the scales say, for each kind of module."""
    for scheme, members in checkpoint.other_schemes.items():
        own = [certificates[name] for name in members if name in chosen]
        if not own:
            continue
        read = sum(checkpoint.opaque[name].parts[Part.SCALE].nbytes for name in members if name in chosen)
        blocks, rounded = sum(item.blocks for item in own), sum(item.rounded for item in own)
        reach = mx.ELEMENTS[chosen[next(name for name in members if name in chosen)]]
        limit = f"spread by at most {reach.top - reach.exact}" if reach.top > reach.exact else "are equal"
        exact = f"all {blocks:,} blocks" if not rounded else f"{blocks - rounded:,} of {blocks:,} blocks"
        yield (
            f"{plural(len(own), f'{scheme.name} module')} become FP8 in blocks of {block[0]}x{block[1]}: {exact} keep "
            f"every value, as their exponents {limit}; {read:,} bytes of scales were read to tell, and no values"
        )
        if rounded:
            shown = [
                f"{name} {list(place)} (spread {spread})"
                for name in members
                if name in chosen
                for place, spread in certificates[name].inexact
            ]
            more = ", ..." if rounded > _NAMED else ""
            yield (
                f"{rounded:,} blocks are rounded as far as scales tell, which count for groups of zeros too: "
                f"{', '.join(shown[:_NAMED])}{more}"
            )


def _refusals(checkpoint: Checkpoint, rounded: Mapping[str, Certificate]) -> Iterator[Fault]:
    """A fault for each kind of module with blocks that would be rounded."""
    for scheme, members in checkpoint.other_schemes.items():
        own = {name: rounded[name] for name in members if name in rounded}
        if own:
            name, first = next(iter(own.items()))
            count = sum(item.rounded for item in own.values())
            place, spread = first.inexact[0]
            kind = elements_of(checkpoint.opaque[name]) or ""
            limit = mx.ELEMENTS[kind].top - mx.ELEMENTS[kind].exact
            message = (
                f"{plural(count, 'block')} of {plural(len(own), f'{scheme.name} module')} would be rounded to FP8, the "
                f"first at {list(place)}"
            )
            yield Fault(
                "mx-spread",
                message,
                None,
                name,
                f"exponents of a block that spread by at most {limit}",
                str(spread),
                ALLOW_LOSS,
            )
