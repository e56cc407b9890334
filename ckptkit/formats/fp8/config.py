"""Reading the config of a plain ``fp8`` checkpoint: one scheme for all modules that are not listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigReader
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.fp8.facts import BLOCK, MXFP4
from ckptkit.formats.fp8_fields import BLOCK_SIZE, SCHEME, SKIP_LIST, field_faults, inputs_of, is_block_size
from ckptkit.model import names
from ckptkit.model.granularity import PerBlock, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import KVCacheScheme, OtherScheme, Quantization, Scheme
from ckptkit.record import record

#: What transformers takes where the key is missing.
USUAL_BLOCK = (128, 128)
#: Where the config says how scales were rounded, and the one word that it has for that, beside plain floats.
SCALE_FORMAT, POWERS_OF_TWO = "scale_fmt", "ue8m0"
_KV_SCHEMES = ("static", "dynamic")


@record
class PlainConfig:
    """A config in canonical words."""

    scheme: Scheme
    skipped: tuple[str, ...]
    kv_cache: KVCacheScheme | None
    understood: Mapping[str, Any]
    provenance: tuple[str, ...]
    experts: OtherScheme | None = None

    @property
    def is_excluded(self) -> Callable[[str], bool]:
        """Whether the skip list names a module, whole."""
        return frozenset(self.skipped).__contains__

    @property
    def scheme_of(self) -> Callable[[str], Scheme | OtherScheme | None]:
        """The scheme of a linear module; None for a listed one."""
        skipped, scheme, experts = frozenset(self.skipped), self.scheme, self.experts
        if experts is None:
            return lambda module: None if module in skipped else scheme
        return lambda module: (
            None if module in skipped else experts if names.experts_owner(module) is not None else scheme
        )


def parse(
    config: Mapping[str, Any], block: Mapping[str, Any], dialect: Dialect, label: str, packed: OtherScheme | None = None
) -> PlainConfig:
    """Parse a config of this dialect, ``block`` of the model's. ``packed`` is the layout of experts of four bits.

    Raises FormatError when it cannot be understood.
    """
    reader = ConfigReader()
    inputs = inputs_of(block)
    if inputs not in ("static", "dynamic"):
        reader.wrong(SCHEME, "static or dynamic", inputs)
    skipped = reader.skip_list(block, SKIP_LIST.keys)
    kv_name = block.get("kv_cache_scheme")
    if isinstance(kv_name, Mapping):  # spelt out, as in other formats: no engine looks
        kv_name = "static" if kv_name else None
    elif kv_name not in (None, *_KV_SCHEMES):
        reader.wrong("kv_cache_scheme", "static, dynamic or null", kv_name)
    scheme = _scheme(reader, block, dialect, dynamic=inputs == "dynamic")
    reader.text(block.get(SCALE_FORMAT), SCALE_FORMAT)
    faults: tuple[Fault, ...] = tuple(field_faults(block))
    reader.raise_faults(label, faults)
    kv_cache = KVCacheScheme(Quantization(PerTensor(), dynamic=kv_name == "dynamic")) if kv_name else None
    understood = {
        "scheme": str(scheme),
        "ignored_layers": skipped,
        "kv_cache": None if kv_cache is None else str(kv_cache),
    }
    experts = _experts(config, block, packed)
    return PlainConfig(scheme, tuple(skipped), kv_cache, understood, _provenance(block), experts)


def _experts(config: Mapping[str, Any], block: Mapping[str, Any], packed: OtherScheme | None) -> OtherScheme | None:
    """The quantization of experts where that is not FP8.

    Some of DeepSeek-V4's own files do not announce it, and no config says which four bits: tensors decide, as they do
    in TensorRT-LLM.
    """
    declared = config.get(names.EXPERT_DTYPE, block.get(names.EXPERT_DTYPE))
    if declared == "fp4" or block.get("store_dtype") == "mxfp4":
        return packed or MXFP4
    return packed if declared is None else None


def _scheme(reader: ConfigReader, block: Mapping[str, Any], dialect: Dialect, *, dynamic: bool) -> Scheme:
    """The one scheme. A block size that is missing, where scales are grids all the same, is transformers' default.

    Dynamic inputs beside one scale for a weight are quantized token by token wherever there is a kernel for it.
    """
    size = block.get(BLOCK_SIZE)
    if size is not None and not is_block_size(size):
        reader.wrong(BLOCK_SIZE, "two numbers, or null", size)
    if dialect.name != BLOCK.name:
        inputs = Quantization(PerToken(), dynamic=True) if dynamic else Quantization(PerTensor())
        return Scheme(Quantization(PerTensor()), inputs)
    if not dynamic:
        reader.wrong(SCHEME, "dynamic, beside blocks", block.get(SCHEME))
    rows, columns = size if is_block_size(size) else USUAL_BLOCK
    return Scheme(Quantization(PerBlock(rows, columns)), Quantization(PerGroup(columns), dynamic=True))


def _provenance(block: Mapping[str, Any]) -> tuple[str, ...]:
    """What a config says beyond its meaning: that scales are powers of two changes no number."""
    scale_format = block.get(SCALE_FORMAT)
    return (f"{SCALE_FORMAT}: {scale_format}",) if scale_format not in (None, "float") else ()
