"""A few rows of a few weights: what shows in most weights of a checkpoint shows there, and costs no full scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ckptkit.dtypes import BITS, FP8_WEIGHT
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.model.numbers import value_of
from ckptkit.model.values import SCALE_DTYPES, decode
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef, count

#: So many weights stand for all, from all over the model, each by so many bytes.
WEIGHTS, BUDGET = 16, 1 << 16
_MAGNITUDES = bytes(code & 0x7F for code in range(256))
_VALUES = tuple(value_of(FP8_WEIGHT, code) for code in range(128))


class Sample(NamedTuple):
    """The first units of a weight, and whether all of a unit was looked at: a *unit* is what has a scale.

    ``units`` holds the largest value of each as its codes stand for it, and its scale.
    """

    tensor: TensorRef
    units: tuple[tuple[float, float], ...]
    whole: bool


def samples(container: Container, modules: Iterable[QuantizedModule]) -> Iterator[Sample]:
    """A sample of a few E4M3 weights whose scales have the shape that they should."""
    sizes = {header.shard: header.file_size for header in container.headers}
    found = [module for module in modules if _is_sound(module) and module.weight.stop <= sizes[module.weight.shard]]
    total = len(found)
    if total > WEIGHTS:  # not the same projection of every layer
        found = [found[(total * number // WEIGHTS + number) % total] for number in range(WEIGHTS)]
    for module in found:
        scale = module.weight_scale
        if scale is not None and scale.stop <= sizes[scale.shard]:
            yield _sample(container, module, scale)


def _is_sound(module: QuantizedModule) -> bool:
    weight, scale, granularity = module.weight, module.weight_scale, module.scheme.weight.granularity
    return (
        weight.dtype == FP8_WEIGHT
        and len(weight.shape) == 2
        and 0 not in weight.shape
        and scale is not None
        and scale.dtype in SCALE_DTYPES
        and isinstance(granularity, (PerTensor, PerChannel, PerBlock))
        and scale.numel == count(granularity.scale_shape(weight.shape))
    )


def _sample(container: Container, module: QuantizedModule, scale: TensorRef) -> Sample:
    (rows, columns), granularity = module.weight.shape, module.scheme.weight.granularity
    height = min(rows, granularity.rows if isinstance(granularity, PerBlock) else max(1, BUDGET // columns))
    weight = module.weight
    data = container.source.read(weight.shard, weight.start, height * columns).translate(_MAGNITUDES)
    largest = [_VALUES[min(max(codes), 0x7E)] for codes in _units(data, columns, granularity)]
    width = BITS[scale.dtype] // 8
    raw = container.source.read(scale.shard, scale.start, len(largest) * width)
    scales = [decode(scale.dtype, int.from_bytes(raw[at : at + width], "little")) for at in range(0, len(raw), width)]
    whole = not isinstance(granularity, PerTensor) or height == rows
    return Sample(weight, tuple(zip(largest, scales, strict=True)), whole)


def _units(data: bytes, columns: int, granularity: Granularity) -> Iterator[bytes]:
    """The codes of each unit in some rows: of all of them, of each row, or of the first blocks."""
    if isinstance(granularity, PerTensor):
        yield data
    elif isinstance(granularity, PerChannel):
        yield from (data[start : start + columns] for start in range(0, len(data), columns))
    elif isinstance(granularity, PerBlock):
        rows = range(0, len(data), columns)
        blocks = max(1, BUDGET // (len(rows) * granularity.columns))
        for start in range(0, columns, granularity.columns)[:blocks]:
            stop = min(columns, start + granularity.columns)
            yield b"".join(data[row + start : row + stop] for row in rows)


class _Bits(NamedTuple):
    """How numbers of a type tell codes that were cast: for each byte of one, lowest first, the bits that no number of
    E4M3 has; and the magnitudes of the last byte from which on, and up to which, the largest number of a weight is that
    of codes. From ``small`` on nobody can say that numbers are a model's own.
    """

    unused: tuple[int, ...]
    small: int
    first: int
    last: int


#: From 4 on, and from 32 to 448. What is smaller than 4 may be a model's own weight.
_CODES = {
    "F8_E4M3": _Bits((0,), 0x48, 0x60, 0x7E),
    "BF16": _Bits((0x0F, 0), 0x40, 0x42, 0x43),
    "F16": _Bits((0xFF & 0x7F, 0), 0x44, 0x50, 0x5F),
    "F32": _Bits((0xFF, 0xFF, 0x0F, 0), 0x40, 0x42, 0x43),
}


def hold_codes(container: Container, weights: Iterable[TensorRef]) -> bool | None:
    """Whether matrices hold codes, which reach towards 448, or False for a model's own weights, all small; None where
    neither shows in the first numbers of a few of them, most of which have to agree on codes."""
    sizes = {header.shard: header.file_size for header in container.headers}
    found = [w for w in weights if len(w.shape) == 2 and w.dtype in _CODES and w.nbytes and w.stop <= sizes[w.shard]]
    total = len(found)
    if total > WEIGHTS:
        found = [found[(total * number // WEIGHTS + number) % total] for number in range(WEIGHTS)]
    told = [_told(container, weight) for weight in found]
    if 2 * told.count(True) > len(told):
        return True
    return False if told and all(one is False for one in told) else None


def _told(container: Container, weight: TensorRef) -> bool | None:
    bits = _CODES[weight.dtype]
    width = len(bits.unused)
    data = container.source.read(weight.shard, weight.start, min(weight.nbytes, BUDGET // width * width))
    for at, unused in enumerate(bits.unused):
        if unused and any(data[at::width].translate(bytes(byte & unused for byte in range(256)))):
            return False
    largest = max(data[width - 1 :: width].translate(_MAGNITUDES))
    return True if bits.first <= largest <= bits.last else False if largest < bits.small else None
