"""From a checkpoint and a target format to a plan, or to a refusal that lists every reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ckptkit.card.facts import CARD_FILE, is_outdated
from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.registry import Level, OnConversion, errors_that
from ckptkit.conversion.losses import find_losses
from ckptkit.conversion.plan import Plan, price, summarise
from ckptkit.dtypes import BITS
from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats import config as location
from ckptkit.formats.base import Draft, Format, Operation, TensorEdit, WriteOptions
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.values import e8m0_to_f32
from ckptkit.storage.container import CONFIG_FILE, SHARD_SUFFIX, Container
from ckptkit.storage.header import Header, parse_header
from ckptkit.storage.index import INDEX_FILE, Index, build_index
from ckptkit.storage.payload import (
    ByteRange,
    Computed,
    Inline,
    OutputFile,
    OutputShard,
    OutputTensor,
    Payload,
    VirtualContainer,
)
from ckptkit.storage.writer import shard_header

METADATA_FORMAT = {"format": "pt"}


def make_plan(context: Context, target: Format, options: WriteOptions) -> Plan:
    """Plan a conversion. Raises ConversionRefused, with every reason, when anything would be lost or is broken.

    The planned headers and config are read back by the target's own reader before the plan is returned: the
    same modules must come out with the same schemes, and no rule may object.
    """
    checkpoint = _require_sound(context)
    losses = list(find_losses(checkpoint, target.capabilities(options), target.name))
    if losses:
        message = f"{checkpoint.container.label}: {target.name} cannot hold this checkpoint without loss"
        raise ConversionRefused(message, faults=losses)
    draft = target.write(checkpoint, options)
    _require_complete(checkpoint, draft)
    output = _virtual_container(checkpoint, draft)
    result = _require_readable(checkpoint, target, output)
    mode = f" ({options.mode} mode)" if options.mode and options.mode != target.modes[0] else ""
    return Plan(
        source=checkpoint.container.label,
        source_format=f"{checkpoint.format} ({checkpoint.dialect})",
        target_format=f"{target.name}{mode}",
        output=output,
        steps=summarise(draft.edits, draft.drops),
        kept=sum(edit.operations == (Operation.KEEP,) for edit in draft.edits),
        notes=(*draft.notes, *_notes(checkpoint), *_card_notes(result), *_carried(result)),
        cost=price(output),
    )


def _require_sound(context: Context) -> Checkpoint:
    """The checkpoint, if no rule finds an error that a conversion would carry along."""
    container = context.container
    container.raise_if_damaged()
    report = runner.run(context, Level.SCALES, errors_that(OnConversion.BLOCKS))
    if report.errors or context.checkpoint is None:
        faults = [finding.to_fault() for finding in report.errors]
        count = f"{len(faults)} error{'s' if len(faults) != 1 else ''}"
        raise ConversionRefused(f"{container.label}: the source is not sound ({count})", faults=faults)
    return context.checkpoint


def _require_complete(checkpoint: Checkpoint, draft: Draft) -> None:
    """Every stored tensor must have a fate, and no two tensors one name."""
    fates = {edit.source for edit in draft.edits} | {drop.source for drop in draft.drops}
    faults = [
        Fault("tensor-without-fate", "the target has no place for this tensor", tensor.shard, tensor.name)
        for tensor in checkpoint.container.tensors.values()
        if tensor not in fates
    ]
    taken: dict[str, str] = {}
    for edit in draft.edits:
        if edit.name in taken:
            message = f"would be stored as {edit.name}, and so would {taken[edit.name]}"
            faults.append(Fault("name-collision", message, edit.source.shard, edit.source.name))
        taken[edit.name] = edit.source.name
    if faults:
        raise ConversionRefused(f"{checkpoint.container.label}: tensors would be lost", faults=faults)


def _virtual_container(checkpoint: Checkpoint, draft: Draft) -> VirtualContainer:
    container = checkpoint.container
    by_shard: dict[str, list[TensorEdit]] = {header.shard: [] for header in container.headers}
    for edit in draft.edits:
        by_shard[edit.source.shard].append(edit)
    shards = tuple(_output_shard(header, by_shard[header.shard]) for header in container.headers)
    config = location.replaced(container.config, draft.quantization_config)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    files = [OutputFile(CONFIG_FILE, Inline(text.encode("utf-8")))]
    if container.index is not None or len(shards) > 1:
        files.append(OutputFile(INDEX_FILE, Inline(_index(container.index, shards))))
    files += [OutputFile(entry.name, ByteRange(entry.name, 0, entry.size)) for entry in container.side_files]
    return VirtualContainer(shards, tuple(files))


def _output_shard(header: Header, edits: list[TensorEdit]) -> OutputShard:
    ordered = sorted(edits, key=lambda edit: (edit.source.start, edit.duplicate))
    tensors = [OutputTensor(edit.name, edit.dtype, edit.shape, _payload(edit)) for edit in ordered]
    return OutputShard(header.shard, tuple(_aligned(tensors)), {**(header.metadata or {}), **METADATA_FORMAT})


def _aligned(tensors: list[OutputTensor]) -> list[OutputTensor]:
    """The tensors in an order in which each starts on a multiple of its element size, if there is one.

    The source's order is kept unless a dropped or added tensor has shifted wide elements off their boundary;
    then the widest go first, as the official writer puts them.
    """
    offset = 0
    for tensor in tensors:
        if offset % max(1, BITS[tensor.dtype] // 8):
            return sorted(tensors, key=lambda item: -BITS[item.dtype])
        offset += tensor.nbytes
    return tensors


def _payload(edit: TensorEdit) -> Payload:
    span = ByteRange(edit.source.shard, edit.source.start, edit.source.nbytes)
    if edit.dtype == edit.source.dtype:
        return span
    if (edit.source.dtype, edit.dtype) == ("F8_E8M0", "F32"):
        return Computed((span,), 4 * edit.source.nbytes, lambda inputs: e8m0_to_f32(inputs[0]), "E8M0 to F32")
    fault = Fault("cast", "no exact cast", edit.source.shard, edit.source.name, edit.dtype, edit.source.dtype)
    raise ConversionRefused("a scale would have to be rounded", faults=[fault])


def _index(index: Index | None, shards: Iterable[OutputShard]) -> bytes:
    placed = [(tensor.name, shard.file) for shard in shards for tensor in shard.tensors]
    total = sum(shard.data_bytes for shard in shards)
    return build_index(placed, total, index.metadata if index else {}, index.extra if index else {})


def _require_readable(checkpoint: Checkpoint, target: Format, output: VirtualContainer) -> Context:
    """Read the planned files back, with the reader that a stranger would use, and compare the meaning."""
    planned = planned_container(checkpoint.container, output)
    context = runner.examine(planned)
    result = context.checkpoint
    faults = [*planned.faults]
    if result is None:
        faults += context.reading_faults
    else:
        report = runner.run(context, Level.HEADERS, errors_that(OnConversion.BLOCKS, OnConversion.MENDED))
        faults += [finding.to_fault() for finding in report.errors]
        wanted = {name: module.scheme for name, module in checkpoint.modules.items()}
        found = {name: module.scheme for name, module in result.modules.items()}
        faults += [
            Fault(
                "scheme-changed",
                f"{name} would be read differently",
                None,
                name,
                str(wanted.get(name)),
                str(got),
            )
            for name, got in ((name, found.get(name)) for name in {**wanted, **found})
            if wanted.get(name) != got
        ]
        faults += [
            Fault("skip-list", f"{name} would be read as quantized", None, name) for name in result.declared_only
        ]
        faults += _kv_changes(checkpoint, result)
    if faults:
        raise ConversionRefused(f"{target.name} would not read the result as it is meant", faults=faults)
    return context


def _carried(result: Context) -> Iterator[str]:
    """Errors that no format cures: the numbers are sound, but some engine refuses them before and after."""
    errors = runner.run(result, Level.HEADERS, errors_that(OnConversion.CARRIED)).errors
    if errors:
        rules = ", ".join(dict.fromkeys(f"{error.code} {error.name}" for error in errors))
        count = "1 error stays" if len(errors) == 1 else f"{len(errors)} errors stay"
        yield f"{count} in the result, which a conversion cannot mend: {rules}; see ckptkit validate"


def _card_notes(result: Context) -> Iterator[str]:
    """A model card is copied as it is, and may then describe the source."""
    source = result.container.source
    if result.checkpoint is None or CARD_FILE not in {entry.name for entry in source.files()}:
        return
    if is_outdated(result.checkpoint, source.read(CARD_FILE).decode("utf-8", errors="replace")):
        yield f"{CARD_FILE} still describes the source; 'ckptkit card' on the result brings it up to date"


def _kv_changes(checkpoint: Checkpoint, result: Checkpoint) -> list[Fault]:
    """What the target's reader would see differently in the KV cache."""
    wanted, found = checkpoint.kv_cache, result.kv_cache
    schemes = [str(cache.scheme.quantization) if cache and cache.scheme else "none" for cache in (wanted, found)]
    faults = []
    if schemes[0] != schemes[1]:
        faults.append(Fault("kv-scheme-changed", "the KV scheme would be read differently", None, None, *schemes))
    before, after = ({a.module: [*a.stored()] for a in cache.attention} if cache else {} for cache in (wanted, found))
    for module in {**before, **after}:
        roles = [", ".join(side.get(module, [])) or "none" for side in (before, after)]
        if roles[0] != roles[1]:
            faults.append(Fault("kv-scales-changed", "other scales would be read", None, module, *roles))
    return faults


def planned_container(source: Container, output: VirtualContainer) -> Container:
    """The container that the output will be, parsed from the very header bytes that would be written."""
    headers = []
    for shard in output.shards:
        raw = shard_header(shard)
        headers.append(parse_header(shard.file, raw[8:], len(raw) + shard.data_bytes))
    config = next(item.payload for item in output.files if item.file == CONFIG_FILE)
    document = json.loads(config.data) if isinstance(config, Inline) else {}
    faults = tuple(fault for header in headers for fault in header.faults)
    return Container(source.source, tuple(headers), None, document, (), faults)


def _notes(checkpoint: Checkpoint) -> list[str]:
    notes = []
    stray = [entry.name for entry in checkpoint.container.side_files if entry.name.endswith(SHARD_SUFFIX)]
    if stray:
        notes.append(f"copied unchanged, not converted: {', '.join(stray)} (not part of the model's index)")
    if checkpoint.declared_only:
        listed = ", ".join(checkpoint.declared_only[:3]) + (", ..." if len(checkpoint.declared_only) > 3 else "")
        notes.append(f"stored in high precision although the source's config does not exclude them: {listed}")
    if checkpoint.fused_experts:
        notes.append(f"fused experts in high precision are excluded: {', '.join(checkpoint.fused_experts[:3])}")
    if checkpoint.records:
        notes.append(f"left out, since it only says how the checkpoint was made: {', '.join(checkpoint.records)}")
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    if scheme is not None and scheme.basis == "pre-rope":
        notes.append("the KV scales were measured before RoPE; other tools measure after it. The values are kept")
    return notes
