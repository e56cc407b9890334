"""CK605 skip-list-incomplete, and its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Module, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.checks.skip_lists import builds_quantized, engines_that_skip, readings_of
from ckptkit.engines.architectures import leaves_alone
from ckptkit.engines.dimensions import ties_head
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.parallel import is_split_alone
from ckptkit.engines.prediction import is_mtp
from ckptkit.engines.registry import asked_about
from ckptkit.errors import Fault
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import PerBlock
from ckptkit.model.names import is_embedding
from ckptkit.model.scheme import Scheme
from ckptkit.rules.config.skip_entries import declared_high_precision, incomplete, list_module, skip_key
from ckptkit.rules.shapes.grids import taken_for

_HEAD = "lm_head"


@rule(
    "CK605",
    "skip-list-incomplete",
    Severity.WARNING,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#47445",
        "ROCm/ATOM#755",
        "vllm-project/vllm#48226",
    ),
)
def skip_list_incomplete(context: Context) -> Iterator[Fault]:
    """A linear module is stored in high precision, but the config does not exclude it.

    Why it hurts: vLLM builds it as an FP8 layer and casts the weight to FP8 by value, without a scale and without a
    word. Routers are left alone by nearly all model classes, so that a forgotten one is a note; Qwen3-MoE's, for one,
    is quantized. Engines that leave a module
    alone whatever the list says, as vLLM does with the head of a Quark checkpoint, do not suffer and are not named.

    Example: ``model.layers.0.mlp.gate.weight`` in BF16, and ``exclude`` holds ``lm_head`` only. Prediction layers
    have a rule of their own, CK614.

    Fix: add the exact name to the skip list. A conversion does.
    """
    yield from _tied_head(context)
    yield from _listed_tables(context)
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    wanted = [name for name in declared_high_precision(context) if not is_mtp(context.dimensions, name)]
    readings = readings_of(context) if wanted else {}
    builds = {engine: builds_quantized(context, reading) for engine, reading in readings.items()}
    readers = {name for name, engine in asked_about().items() if engine.reader_of(context.dialect_key) is True}
    dequantized = said(context, keys_of(context).dequantizes) is True
    architecture = context.dimensions.architecture or ""
    linear = {engine for engine, reading in readings.items() if architecture.startswith(reading.linear_routers)}
    others = readers - builds.keys() if wanted else set()
    for name in wanted:
        # Some engines never quantize the head, or read the entries otherwise than the format's own library does.
        hit = others | {engine for engine, quantizes in builds.items() if quantizes(name)}
        hit -= engines_that_skip(context, name)
        fault = incomplete(context, name, "stored in high precision, but the config calls it quantized")
        if leaves_alone(context.dimensions.architecture, name):
            hit &= linear if layer_of(name) is Layer.ROUTER else set()
        harmless = not hit
        severity = Severity.INFO if harmless else None
        yield replace(
            fault,
            only=frozenset() if harmless else frozenset(hit),
            severity=severity,
            variant=_variant(context, checkpoint, name, dequantized),
        )


def _variant(context: Context, checkpoint: Checkpoint, module: str, dequantized: bool) -> str | None:
    """What is told apart: a layer split from others of its fused one, one that has its scales beside it, one of a model
    that is dequantized while it is loaded, and one in whose blocks' place readers without a block size find others."""
    if is_split_alone(checkpoint, module):
        return "split-alone"
    if any(orphan.module == module for orphan in checkpoint.orphans):
        return "beside-scales"
    return "dequantized" if dequantized else _misread(context, checkpoint, module)


def _misread(context: Context, checkpoint: Checkpoint, module: str) -> str | None:
    """What scales of the declared blocks are taken for by their shape alone, where that does not fit the weight."""
    declared, shape = checkpoint.contradicted.get(module), checkpoint.unquantized[module].shape
    blocks = declared.weight.granularity if isinstance(declared, Scheme) else None
    if not isinstance(blocks, PerBlock) or len(shape) != 2 or 0 in shape or keys_of(context).groups is None:
        return None
    taken = taken_for(shape, blocks)
    return taken if taken in ("one-column", "misfit") else None


def _listed_tables(context: Context) -> Iterator[Observation]:
    """Embeddings that the config lists as quantized, and that are stored in high precision."""
    listed = said(context, keys_of(context).converted)
    entries = tuple(entry for entry in listed if isinstance(entry, str)) if isinstance(listed, list) else ()
    hit = frozenset(engine for engine, reading in readings_of(context).items() if reading.converts) if entries else None
    for tensor in context.container.tensors.values() if hit else ():
        module = tensor.module
        table = tensor.name == f"{module}.weight" and module.endswith(entries) and is_embedding(module)
        if table and not is_fp8(tensor.dtype):
            yield Observation(
                "skip-list-incomplete",
                "the table is stored in high precision, but the config lists it as quantized",
                tensor.shard,
                tensor.name,
                expected=f"no {module} in {keys_of(context).converted}",
                found=tensor.dtype,
                variant="converted",
                only=hit,
            )


def _tied_head(context: Context) -> Iterator[Observation]:
    """A head that is the embedding, and that the config calls quantized: nothing is stored that could be."""
    if (
        not ties_head(context.config)
        or context.checkpoint is None
        or not context.checkpoint.modules
        or _HEAD in context.module_names
    ):
        return
    readings = readings_of(context)
    hit = {engine for engine, reading in readings.items() if builds_quantized(context, reading)(_HEAD)}
    if hit:
        key = skip_key(context)
        message = "the head is tied to the embedding, but the config calls it quantized"
        yield Observation(
            "skip-list-incomplete",
            message,
            context.section.file,
            _HEAD,
            expected=f"{_HEAD} in {key}",
            help=f"add {_HEAD!r} to {key}",
            variant="tied-head",
            only=frozenset(hit),
            subject=Module(_HEAD),
        )


fix("safe", "CK605")(list_module)
