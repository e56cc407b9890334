"""Which modules are quantized, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.conversion.prepare.select import selected
from ckptkit.conversion.request import ConversionRequest
from ckptkit.engines.architectures import has_inputs_first, leaves_alone
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.prediction import is_mtp
from ckptkit.engines.vllm.classes import OWN_LISTS
from ckptkit.errors import plural
from ckptkit.formats.preset import Preset
from ckptkit.model import names
from ckptkit.model.select import Selector, glob_or_exact

_BY_USER = "skip"
_NOT_MEANT = "not among the modules"


def split(
    candidates: Iterable[str], preset: Preset, request: ConversionRequest, dimensions: Dimensions, *, heads: bool = True
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The modules to quantize in their order, and of the others why they stay as they are; no ``heads``, if so.

    Raises UsageError for a pattern that matches no module.
    """
    found = tuple(candidates)
    meant = frozenset(selected(found, request.modules))
    skipped = frozenset(selected(found, request.skip, "skip")) if request.skip else frozenset()
    own = Selector.of(map(glob_or_exact, preset.skips))
    reasons: dict[str, str] = {}
    for name in found:
        reason = None
        if has_inputs_first(dimensions.architecture, name):
            reason = "stored as [inputs, outputs]: no tool takes it for a linear layer"
        elif not heads and names.is_head(name):
            reason = "the output head: the target has none in FP8"
        elif name in skipped:
            reason = _BY_USER
        elif name not in meant:
            reason = _NOT_MEANT
        elif request.default_skips:
            reason = _by_default(name, dimensions) or (preset.name if own.matches(name) else None)
        if reason is not None:
            reasons[name] = reason
    return tuple(name for name in found if name not in reasons), reasons


def _by_default(name: str, dimensions: Dimensions) -> str | None:
    """Why every tool leaves a module alone."""
    if names.is_head(name):
        return "the output head"
    if names.is_router(name):
        return "routers, which choose experts by small differences"
    if names.other_tower(name) is not None:
        return "towers and projectors beside the language model"
    if is_mtp(dimensions, name):
        return "layers that predict further tokens"
    if not _has_own_list(dimensions.architecture) and leaves_alone(dimensions.architecture, name):
        return "engines build it plain whatever the config says"
    return None


def _has_own_list(architecture: str | None) -> bool:
    """Whether nothing is known of what a class leaves alone, since it says so itself."""
    return (architecture or "").startswith(OWN_LISTS)


def told(reasons: dict[str, str], preset: Preset) -> Iterator[str]:
    """What stays in high precision, a sentence for each reason."""
    words = {
        _BY_USER: "left in high precision as asked",
        _NOT_MEANT: "left in high precision, since others are named",
        preset.name: f"left in high precision as the tool of {preset.name} does",
    }
    for reason in dict.fromkeys(reasons.values()):
        members = [name for name, own in reasons.items() if own == reason]
        forms = list(dict.fromkeys(map(names.generalise, members)))
        listed = ", ".join(forms[:4]) + (f" and {len(forms) - 4} more" if len(forms) > 4 else "")
        what = words.get(reason, f"left in high precision, {reason}")
        yield f"{what}: {plural(len(members), 'module')} ({listed})"
