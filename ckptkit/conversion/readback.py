"""Reading a plan back: would a stranger find in the planned files what they are meant to say?"""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.level import default_level
from ckptkit.checks.registry import OnConversion, errors_that, rules_of_plans
from ckptkit.errors import ConversionRefused, Fault
from ckptkit.formats.base import Changes, Draft, Format
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.scheme import Scheme
from ckptkit.operations.stream import stream
from ckptkit.operations.table import operation
from ckptkit.record import record
from ckptkit.storage.agreement import UNLISTED
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.output import VirtualContainer
from ckptkit.storage.virtual import VirtualSource


@record
class Reading:
    """What was read back: the planned files, what they mean (None without a quantization), and what rules find there.

    ``findings`` are errors and warnings; ``carried`` are the errors among them that no format cures.
    """

    container: Container
    checkpoint: Checkpoint | None
    carried: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


def read_back(
    context: Context, checkpoint: Checkpoint, target: Format, draft: Draft, output: VirtualContainer
) -> Reading:
    """Read the planned files, byte for byte those that will be written, with the reader that a stranger would use.

    ``context`` is the source's: what is known of its scales holds for those whose bytes are copied.

    Raises ConversionRefused where they mean anything else than the source's meaning with the declared changes.
    """
    container = open_container(VirtualSource(output, checkpoint.container.source, stream))
    if draft.quantization_config is None:
        faults = [*_file_faults(container), *_scheme_changes(_wanted_schemes(checkpoint, draft.changes), {})]
        _refuse(target, faults)
        return Reading(container, None)
    known = context.scale_values.places if "scale_values" in vars(context) else {}
    result_context = runner.read_context(container, known, _costly(draft))
    result = result_context.checkpoint
    if result is None:
        _refuse(target, [*_file_faults(container), *result_context.reading_faults])
        raise ConversionRefused(f"{target.name} would not read the result as it is meant")
    report = runner.run(result_context, default_level(checkpoint.container.source), rules_of_plans())
    errors, harmful = report.errors, tuple(f for f in report.findings if f.severity is not Severity.INFO)
    carried_codes = {rule.code for rule in errors_that(OnConversion.CARRIED)}
    faults = [
        *_file_faults(container),
        *(error.to_fault() for error in errors if error.code not in carried_codes),
        *_scheme_changes(
            _wanted_schemes(checkpoint, draft.changes), {name: m.scheme for name, m in result.modules.items()}
        ),
        *_other_changes(checkpoint, result),
        *(Fault("skip-list", f"{name} would be read as quantized", None, name) for name in result.declared_only),
        *_kv_changes(checkpoint, draft.changes, result),
    ]
    _refuse(target, faults)
    carried = tuple(error for error in errors if error.code in carried_codes)
    return Reading(container, result, carried, harmful)


def _file_faults(container: Container) -> Iterator[Fault]:
    """What is wrong with the planned files. A weight file that lies beside the model is copied, and stays there."""
    return (fault for fault in container.faults if fault.kind != UNLISTED)


def _costly(draft: Draft) -> frozenset[str]:
    """Scales that take a look at all of a weight: a plan does not, and their operation vouches for their values."""
    surveys = (tensors for what, tensors in draft.by_operation.items() if operation(what).surveys)
    return frozenset(tensor.name for tensors in surveys for tensor in tensors)


def _refuse(target: Format, faults: list[Fault]) -> None:
    if faults:
        raise ConversionRefused(f"{target.name} would not read the result as it is meant", faults=faults)


def _wanted_schemes(checkpoint: Checkpoint, changes: Changes) -> dict[str, Scheme]:
    """The schemes of the source's modules, with the declared changes."""
    wanted = {name: module.scheme for name, module in checkpoint.modules.items()}
    for name, scheme in changes.schemes.items():
        if scheme is None:
            wanted.pop(name, None)
        else:
            wanted[name] = scheme
    return wanted


def _scheme_changes(wanted: dict[str, Scheme], found: dict[str, Scheme]) -> Iterator[Fault]:
    """Modules that would be read with another scheme than they should have."""
    alike: dict[tuple[int, int], bool] = {}  # a hundred thousand modules share a few schemes
    for name in wanted if wanted.keys() == found.keys() else {**wanted, **found}:
        meant, got = wanted.get(name), found.get(name)
        pair = (id(meant), id(got))
        if pair not in alike:
            alike[pair] = meant == got
        if not alike[pair]:
            yield Fault("scheme-changed", f"{name} would be read differently", None, name, str(meant), str(got))


def _other_changes(checkpoint: Checkpoint, result: Checkpoint) -> Iterator[Fault]:
    """Modules in another quantization than FP8 that would be read otherwise.

    The same format carries their config as it was; another one has the same layout.
    """
    alike = checkpoint.format == result.format
    for name in {**checkpoint.opaque, **result.opaque}:
        before, after = checkpoint.opaque.get(name), result.opaque.get(name)
        found = [
            (module.scheme if alike else module.scheme.storage, module.parts.keys())
            for module in (before, after)
            if module is not None
        ]
        if len(found) < 2 or found[0] != found[1]:
            said = [str(module.scheme) if module is not None else "nothing" for module in (before, after)]
            yield Fault("scheme-changed", f"{name} would be read differently", None, name, *said)


def _kv_changes(checkpoint: Checkpoint, changes: Changes, result: Checkpoint) -> Iterator[Fault]:
    """What the target's reader would see differently in the KV cache than it should."""
    before, after = checkpoint.kv_cache, result.kv_cache
    meant = before.scheme if before else None
    if changes.kv_scheme is not None:
        (meant,) = changes.kv_scheme
    got = after.scheme if after else None
    schemes = [str(scheme.quantization) if scheme else "none" for scheme in (meant, got)]
    if schemes[0] != schemes[1]:
        yield Fault("kv-scheme-changed", "the KV scheme would be read differently", None, None, *schemes)
    wanted, found = ({a.module: [*a.stored()] for a in cache.attention} if cache else {} for cache in (before, after))
    wanted.update((module, list(roles)) for module, roles in changes.attention.items())
    for module in {**wanted, **found}:
        roles = [", ".join(side.get(module, [])) or "none" for side in (wanted, found)]
        if roles[0] != roles[1]:
            yield Fault("kv-scales-changed", "other scales would be read", None, module, *roles)
