"""The formats that exist: ours, in one explicit tuple, and third parties' through entry points."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from ckptkit.errors import Fault, FormatError, UsageError
from ckptkit.formats import config as location
from ckptkit.formats.base import Detection, Format
from ckptkit.formats.compressed_tensors import CompressedTensors
from ckptkit.formats.quark import Quark
from ckptkit.storage.container import Container

BUILT_IN: tuple[Format, ...] = (CompressedTensors(), Quark())
ENTRY_POINT_GROUP = "ckptkit.formats"

#: What an unsupported ``quant_method`` is, so that a refusal can say more than "unknown".
_KNOWN_BUT_UNSUPPORTED = {
    "fp8": "vLLM/AutoFP8 or DeepSeek block FP8",
    "fbgemm-fp8": "fbgemm FP8",
    "modelopt": "NVIDIA ModelOpt",
    "awq": "AWQ, which is not FP8",
    "gptq": "GPTQ, which is not FP8",
    "bitsandbytes": "bitsandbytes, which is not FP8",
}


@lru_cache(maxsize=1)
def formats() -> tuple[Format, ...]:
    """Every registered format: the built-in ones first, then third parties'."""
    return (*BUILT_IN, *_third_party())


def _third_party() -> tuple[Format, ...]:
    """What the entry points name, each called without arguments. Raises UsageError with the package to blame."""
    from importlib.metadata import entry_points

    taken = {name for built_in in BUILT_IN for name in (built_in.name, *built_in.aliases)}
    found = []
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        origin = f"entry point {entry.name!r} ({entry.value}) of {package}"
        try:
            candidate = entry.load()()
        except Exception as error:
            message = f"{origin} cannot be loaded: {type(error).__name__}: {error}"
            raise UsageError(message, help=f"fix or uninstall {package}") from error
        if not isinstance(candidate, Format):
            raise UsageError(f"{origin} is not a ckptkit format", help=f"fix or uninstall {package}")
        own = {candidate.name, *candidate.aliases}
        if own & taken:
            clash = ", ".join(sorted(own & taken))
            raise UsageError(f"{origin} takes a name that is in use: {clash}", help=f"fix or uninstall {package}")
        taken |= own
        found.append(candidate)
    return tuple(found)


def _candidates() -> Iterator[Format]:
    """Every format; third parties' only when no built-in one has answered, since looking for them takes 20 ms."""
    yield from BUILT_IN
    yield from formats()[len(BUILT_IN) :]


def by_name(name: str) -> Format:
    """The format of this name or alias. Raises UsageError with the names that exist."""
    wanted = name.lower().replace("_", "-")
    for candidate in _candidates():
        if wanted in (candidate.name, *candidate.aliases):
            return candidate
    known = ", ".join("/".join((f.name, *f.aliases)) for f in formats())
    raise UsageError(f"unknown format {name!r}", help=f"known formats: {known}")


def detect(container: Container) -> tuple[Format, Detection]:
    """The format of a container. Raises FormatError when it is none that ckptkit reads."""
    for candidate in _candidates():
        detection = candidate.detect(container)
        if detection is not None:
            return candidate, detection
    located = location.locate(container.config)
    if located is None:
        fp8 = next((t for t in container.tensors.values() if t.dtype.startswith("F8_E4M3")), None)
        faults = []
        help_text = "this looks like an unquantized checkpoint: there is nothing for ckptkit to convert or check"
        if fp8 is not None:
            absent = any(fault.kind == "config-absent" for fault in container.faults)
            what = "the folder has no config.json" if absent else "config.json has no quantization_config"
            faults.append(Fault("config-no-quantization", f"FP8 weights, but {what}", "config.json", fp8.name))
            help_text = f"restore the {'config.json' if absent else 'quantization_config'} that the exporter wrote"
        raise FormatError(f"{container.label}: not a quantized checkpoint", faults=faults, help=help_text)
    method = location.quant_method(located.block)
    inner = located.block.get("quantization")
    if not method and ("quant_algo" in located.block or (isinstance(inner, dict) and "quant_algo" in inner)):
        method = "modelopt"  # its older exports leave the method out
    described = _KNOWN_BUT_UNSUPPORTED.get(method)
    found = f"quant_method {method!r}" if method else "a quantization config without quant_method"
    found += f" ({described})" if described else ""
    known = ", ".join(f.name for f in formats())
    raise FormatError(f"{container.label}: {found} is not supported", help=f"supported: {known}")
