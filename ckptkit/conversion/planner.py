"""From a checkpoint and a target format to a plan, or to a refusal that lists every reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from operator import attrgetter

from ckptkit.card import CARD_FILE
from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.level import Level, default_level
from ckptkit.checks.registry import OnConversion, all_rules, errors_that, way_to_fix
from ckptkit.conversion.adapt import choose
from ckptkit.conversion.changes import changes_of
from ckptkit.conversion.losses import ALLOW_LOSS
from ckptkit.conversion.placement import virtual_container
from ckptkit.conversion.plan import Cost, Plan, price, summarise
from ckptkit.conversion.prepare import prepare
from ckptkit.conversion.readback import Reading, read_back
from ckptkit.conversion.request import ConversionRequest
from ckptkit.engines.registry import engines
from ckptkit.engines.remarks import remarks_on
from ckptkit.errors import ContainerError, ConversionRefused, Fault, UsageError, install
from ckptkit.formats import registry
from ckptkit.formats.base import Draft
from ckptkit.formats.reading import Unquantized, readable
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.operations import machine
from ckptkit.operations.outputs import broken_promises, is_exact, loss_of
from ckptkit.storage.container import CONFIG_FILE, SHARD_SUFFIX, Container, open_container, paused_gc
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.source import Source
from ckptkit.storage.untrusted import MOST_TEXT_BYTES

#: Computed bytes from which on compiled loops are worth a word.
_LONG = 1 << 30


def plan_source(source: Source, request: ConversionRequest) -> Plan:
    """Plan the conversion of a folder.

    Raises UsageError, ContainerError and FormatError where there is nothing to plan, and as :func:`make_plan` does.
    """
    container = open_container(source)
    container.raise_if_damaged()
    context = runner.read_context(container)
    if not context.has_reader and not isinstance(context.reading, Unquantized):
        readable(container, context.reading)
    dialect = context.dialect
    if dialect is not None and request.expect not in (None, dialect.format):
        raise UsageError(f"{container.label} is a {dialect.format} checkpoint, not {request.expect}")
    return make_plan(context, request)


def make_plan(context: Context, request: ConversionRequest) -> Plan:
    """Plan a conversion. Raises ConversionRefused, with every reason, when anything would be lost or is broken.

    The planned files are read back by the target's own reader before the plan is returned: the same modules must come
    out with the schemes that the writer declares, and no rule may object.
    """
    with paused_gc():  # nothing here makes garbage in cycles, and a large checkpoint makes millions of small objects
        return _make_plan(context, request)


def _make_plan(context: Context, request: ConversionRequest) -> Plan:
    source = _require_sound(context, request)
    prepared = prepare(source, request)
    checkpoint = prepared.checkpoint
    if request.target.weight_dtype is not None and checkpoint.modules and context.format is not None:
        request = _own_format(context, request)
    adapted = choose(checkpoint, request)
    refusals = (*prepared.refusals, *adapted.refusals)
    if refusals:
        message = f"{source.container.label}: {request.target.name} cannot hold this checkpoint without loss"
        raise ConversionRefused(message, faults=refusals)
    dialect = adapted.dialect
    written = request.target.write(adapted.checkpoint, replace(request, mode=dialect.mode))
    draft = _without_old_files(context, prepared.settle(adapted.with_changes(written)))
    _require_complete(source, draft, request)
    output = virtual_container(source.container, draft, request.max_shard_size)
    result = read_back(context, checkpoint, request.target, draft, output)
    cost = price(output)
    new = _new_codes(context, result)
    if prepared.made:
        _require_no_new_errors(source, result, new)
    mode = "" if dialect is request.target.dialects[0] else f" ({dialect.mode} mode)"
    config = source.container.source.read(CONFIG_FILE)
    return Plan(
        source=source.container.label,
        source_format=f"{source.format} ({source.dialect})",
        target_format=f"{request.target.name}{mode}",
        output=output,
        steps=summarise(draft.tensors, draft.drops),
        kept=len(draft.by_operation.get("keep", ())),
        notes=(
            *draft.changes.reasons,
            *draft.notes,
            *remarks_on(adapted.checkpoint, dialect.key),
            *_notes(checkpoint, draft),
            *_faster(cost),
            *_card_notes(source, result),
            *_carried_errors(result),
            *_new_findings(new),
        ),
        cost=cost,
        source_files={entry.name: entry.size for entry in source.container.source.files()},
        source_config=hashlib.sha256(config).hexdigest(),
        changes=tuple(changes_of(source, checkpoint, draft)),
        gives_up=draft.changes.gives_up,
    )


def _require_sound(context: Context, request: ConversionRequest) -> Checkpoint:
    """The checkpoint, if no rule finds an error that a conversion would carry along."""
    container = context.container
    container.raise_if_damaged()
    plain = _plain(context, request)
    report = runner.run(context, Level.SCALES, errors_that(OnConversion.BLOCKS))
    if report.errors:
        faults = [finding.to_fault() for finding in report.errors]
        count = f"{len(faults)} error{'s' if len(faults) != 1 else ''}"
        help_text = way_to_fix((finding.code for finding in report.errors), container.label)
        raise ConversionRefused(f"{container.label}: the source is not sound ({count})", faults=faults, help=help_text)
    return plain or readable(container, context.reading).checkpoint


def _plain(context: Context, request: ConversionRequest) -> Checkpoint | None:
    """A checkpoint that is not quantized, where it is to be; None where it is. Raises FormatError where it is not."""
    reading = context.reading
    if not isinstance(reading, Unquantized) or reading.faults:
        return None
    kind = reading.recognised.folder
    if kind is not None and not kind.is_model:
        raise reading.error(context.container.label)
    if request.target.weight_dtype is not None and request.only_arranges:
        return _of_type(registry.plain_checkpoint(context.container), request.target.weight_dtype)
    if request.preset is not None:
        return registry.plain_checkpoint(context.container)
    if not request.target.presets:
        raise reading.error(context.container.label)
    known = ", ".join(one.name for one in request.target.presets)
    help_text = f"to quantize it, name a scheme (--scheme): {known}"
    raise replace(reading, help=help_text).error(context.container.label)


def _of_type(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """A plain checkpoint whose linear weights have this type. Raises UsageError for one with others."""
    others = {tensor.dtype for tensor in checkpoint.unquantized.values()} - {dtype}
    if others:
        found = ", ".join(sorted(others))
        help_text = f"plain weights get no other type: ckptkit convert --to {min(others).lower()}"
        raise UsageError(f"{checkpoint.container.label} has weights in {found}, not {dtype}", help=help_text)
    return checkpoint


def _own_format(context: Context, request: ConversionRequest) -> ConversionRequest:
    """The request with the source's dialect, which modules keep that stay. Raises UsageError if it is only read."""
    form, dialect = context.format, context.dialect
    if form is None or dialect is None or dialect.mode is None:
        name = dialect.format if dialect is not None else "this format"
        raise UsageError(
            f"{name} is only read, not written", help="leave modules (--modules) out to dequantize all of it"
        )
    return replace(request, target=form, mode=dialect.mode)


def _without_old_files(context: Context, draft: Draft) -> Draft:
    """The draft without the files that belong to the source's format: they would contradict the new config."""
    old = context.dialect.side_files if context.dialect is not None else ()
    held = {entry.name for entry in context.container.side_files}
    gone: dict[str, bytes | None] = {name: None for name in old if name in held and name not in draft.side_files}
    return replace(draft, side_files={**draft.side_files, **gone}) if gone else draft


def _require_complete(checkpoint: Checkpoint, draft: Draft, request: ConversionRequest) -> None:
    """Every stored tensor must have a fate, no two tensors one name, and no value may be rounded unless declared."""
    label = checkpoint.container.label
    used = set(map(attrgetter("name"), chain.from_iterable(map(attrgetter("inputs"), draft.tensors))))
    used.update(drop.source.name for drop in draft.drops)
    stored = checkpoint.container.tensors
    faults = [
        Fault("tensor-without-fate", "the target has no place for this tensor", stored[name].shard, name)
        for name in stored
        if name not in used
    ]
    if len(set(map(attrgetter("name"), draft.tensors))) != len(draft.tensors):
        faults += _collisions(draft)
    if faults:
        raise ConversionRefused(f"{label}: tensors would be lost", faults=faults)
    faults = list(broken_promises(draft.tensors))
    if faults:
        raise ConversionRefused(f"{label}: some tensors cannot be made as planned", faults=faults)
    faults = list(_undeclared_losses(draft, request))
    if faults:
        raise ConversionRefused(f"{label}: values would be rounded", faults=faults)


def _collisions(draft: Draft) -> Iterator[Fault]:
    """Tensors that would be stored under a name that another one has."""
    taken: dict[str, OutputTensor] = {}
    for tensor in draft.tensors:
        if tensor.name in taken:
            message = f"would be stored as {tensor.name}, and so would {_origin(taken[tensor.name])}"
            yield Fault("name-collision", message, None, _origin(tensor))
        taken[tensor.name] = tensor


def _origin(tensor: OutputTensor) -> str:
    return tensor.inputs[0].name if tensor.inputs else tensor.name


def _undeclared_losses(draft: Draft, request: ConversionRequest) -> Iterator[Fault]:
    """Tensors whose values may be off although nobody declared it, or although the user did not allow it."""
    allowed = draft.changes.rounds | (draft.changes.lossy if request.allow_lossy else frozenset())
    for what, tensors in draft.by_operation.items():
        help_text = ALLOW_LOSS if what in draft.changes.lossy else "a defect of the format's writer: report it"
        for tensor in tensors if what not in allowed and not is_exact(what) else ():
            loss = loss_of(tensor)
            if loss is not None:
                yield Fault("loss", f"{what} rounds values", None, tensor.name, "exact", str(loss), help_text)


def _faster(cost: Cost) -> Iterator[str]:
    """What would make a long computation shorter."""
    if cost.computed >= _LONG and not machine.is_installed():
        yield f"values are worked out by numpy: with numba ({install('fast')}) that is several times faster"


def _carried_errors(result: Reading) -> Iterator[str]:
    """Errors that no format cures: the numbers are sound, but some engine refuses them before and after."""
    errors = result.carried
    if errors:
        rules = ", ".join(dict.fromkeys(f"{error.code} {error.name}" for error in errors))
        count = "1 error stays" if len(errors) == 1 else f"{len(errors)} errors stay"
        yield f"{count} in the result, which a conversion cannot fix: {rules}; see ckptkit validate"


def _new_codes(context: Context, result: Reading) -> dict[str, str]:
    """The rules, code and name, that find something in the result and nothing in the source."""
    codes = {finding.code: finding.name for finding in result.findings}
    if not codes:
        return {}
    suspects = [rule for rule in all_rules() if rule.code in codes]
    known = {f.code for f in runner.run(context, default_level(context.container.source), suspects).findings}
    return {code: name for code, name in codes.items() if code not in known}


def _require_no_new_errors(source: Checkpoint, result: Reading, new: Mapping[str, str]) -> None:
    """Refuse a change that some engine stops at, where it takes the source."""
    faults = [error.to_fault() for error in result.carried if error.code in new]
    if faults:
        message = f"{source.container.label}: the result would have errors that the source has not"
        raise ConversionRefused(message, faults=faults, help="choose other modules, all of a fused layer together")


def _new_findings(new: Mapping[str, str]) -> Iterator[str]:
    """What rules will find in the result and do not find in the source, so that nobody is surprised by it."""
    if new:
        listed = ", ".join(f"{code} {name}" for code, name in new.items())
        yield f"ckptkit validate will find in the result what it does not find in the source: {listed}"


def _card_notes(source: Checkpoint, result: Reading) -> Iterator[str]:
    """A model card is copied as it is, and may then describe the source."""
    try:
        data = source.container.side_file(CARD_FILE, MOST_TEXT_BYTES)
    except ContainerError:
        yield f"{CARD_FILE} is copied as it is: it is too large to be read"
        return
    if data is None:
        return
    if result.checkpoint is None:
        if source.modules or source.opaque:
            yield f"{CARD_FILE} is copied as it is, and still describes the quantized source"
        return
    from ckptkit.card.facts import is_outdated  # what only a card needs is imported for it

    if is_outdated(result.checkpoint, data.decode("utf-8", errors="replace")):
        yield f"{CARD_FILE} still describes the source; 'ckptkit card' on the result brings it up to date"


def _stray_notes(container: Container) -> Iterator[str]:
    """Weight files that are no part of the model, beside its shards or in folders below."""
    stray = [entry.name for entry in container.side_files if entry.name.endswith(SHARD_SUFFIX)]
    if not stray:
        return
    copied = f"copied unchanged, not converted: {', '.join(stray)} (no part of the model)"
    if all("/" in name for name in stray):
        yield copied
    else:
        takers = " and ".join(engine.label for engine in engines().values() if engine.loads_every_file)
        yield f"{copied}; what loads every weight file, as {takers} does, may take old tensors from there"


def _notes(checkpoint: Checkpoint, draft: Draft) -> list[str]:
    notes = [*_stray_notes(checkpoint.container)]
    if checkpoint.declared_only:
        listed = ", ".join(checkpoint.declared_only[:3]) + (", ..." if len(checkpoint.declared_only) > 3 else "")
        notes.append(f"stored in high precision although the source's config does not exclude them: {listed}")
    if checkpoint.fused_experts:
        notes.append(f"fused experts in high precision are excluded: {', '.join(checkpoint.fused_experts[:3])}")
    written = draft.quantization_config or {}
    left_out = [entry for entry in checkpoint.provenance if entry.partition(":")[0] not in written]
    if left_out:
        notes.append(f"left out, since no stored number depends on it: {', '.join(left_out)}")
    scheme = checkpoint.kv_cache.scheme if checkpoint.kv_cache else None
    if scheme is not None and scheme.basis == "pre-rope" and draft.quantization_config is not None:
        notes.append("the KV scales were measured before RoPE; other tools measure after it. The values are kept")
    return notes
