"""Comparing values: byte for byte where equal bytes mean equal values, and how far they are off where they differ.

Stripes of a few megabytes of both sides are read and worked on by a thread for each core; numpy leaves the others run
meanwhile. What comes back is added up in the order of the file, so that no run differs from another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ckptkit.conversion.comparison import Difference, WeightErrors
from ckptkit.conversion.diff_pairs import Stored
from ckptkit.dtypes import BITS
from ckptkit.measure.errors import Measured, measure
from ckptkit.measure.matrix import Matrix
from ckptkit.operations.operation import OperationError
from ckptkit.operations.stream import in_order
from ckptkit.storage.source import Source

Span = tuple["Values", int, int]

#: Bytes of one side that are compared at a time, and the most tensors that they may be of.
_BYTES, _TENSORS = 1 << 22, 256
#: Elements that are measured at a time.
_ELEMENTS = 1 << 18
#: More threads than this would wait for each other, and each takes its own megabytes.
_MOST_WORKERS = 8


@dataclass
class Values:
    """Two weights of one shape whose values are to be compared.

    * ``by_bytes``: they are of one type, so that equal bytes are equal codes or numbers;
    * ``scales_differ``: equal codes may be other values all the same;
    * ``is_told``: a difference is said already, whatever the values are;
    * ``has_numbers``: they are numbers to measure, and not parts of something else;
    * ``parts``: what they are stored in, each compared by itself, in another quantization than FP8.

    Afterwards ``first`` is the first byte that differs, ``measured`` how far one is off beside the other where they may
    differ, and ``reason`` says why that is not known.
    """

    left: Stored
    right: Stored
    by_bytes: bool
    scales_differ: bool = False
    is_told: bool = False
    first: int | None = None
    measured: Measured | None = None
    reason: str | None = None
    has_numbers: bool = True
    counted: int = 0
    parts: tuple[Values, ...] = ()

    @property
    def may_differ(self) -> bool:
        """Whether equal bytes have not shown that the values are equal."""
        if self.parts:
            return self.scales_differ or any(part.may_differ for part in self.parts)
        return self.first is not None or self.scales_differ or not self.by_bytes

    @property
    def is_equal(self) -> bool:
        """Whether every value was found to be the same."""
        return not self.may_differ or (self.measured is not None and not self.is_off)

    @property
    def is_off(self) -> bool:
        """Whether some value was measured that differs, or is no number."""
        return self.measured is not None and self.measured.equal != self.measured.elements

    def errors(self, *, base_is_right: bool) -> WeightErrors:
        """The errors of values that were measured."""
        base, other = (self.right, self.left) if base_is_right else (self.left, self.right)
        measured = self.measured or Measured()
        return WeightErrors(base.subject, self.left.shape, base.storage, other.storage, measured, base.is_plain)


@dataclass
class ValueComparer:
    """Compares values of two sides; ``base_is_right`` says which one the errors refer to.

    ``progress`` hears of the bytes of the left side that are done with, from this thread.
    """

    left: Source
    right: Source
    base_is_right: bool = False
    progress: Callable[[int], None] = lambda nbytes: None
    workers: int | None = None

    def run(self, values: list[Values]) -> None:
        """Compare all of them: bytes first, then the errors of what differs."""
        count = self.workers or min(_MOST_WORKERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(max_workers=count) as pool:
            for found in in_order(pool, self._compare, _spans(values), 2 * count):
                for item, size, first in found:
                    item.counted += size
                    self.progress(size)
                    if first is not None:
                        item.first = first if item.first is None else min(item.first, first)
            for item in values:
                if not item.has_numbers:
                    self._count_rest(item)
            stripes = self._stripes(item for item in values if item.may_differ and item.has_numbers)
            for item, measured in in_order(pool, self._measure, stripes, 2 * count):
                item.measured = (item.measured or Measured()) + measured
                self._count_rest(item)

    def _compare(self, spans: list[Span]) -> list[tuple[Values, int, int | None]]:
        """For each span of bytes: what it belongs to, its size, and the first byte of the tensor that differs in it."""
        found: list[tuple[Values, int, int | None]] = []
        for item, begin, size in spans:
            if item.first is not None and item.first < begin:
                found.append((item, 0, None))
                continue
            first = None
            a, b = item.left.tensor, item.right.tensor
            if a is not None and b is not None:
                ours = self.left.read(a.shard, a.start + begin, size)
                theirs = self.right.read(b.shard, b.start + begin, size)
                first = None if ours == theirs else begin + _first_difference(ours, theirs)
            found.append((item, size, first))
        return found

    def _stripes(self, values: Iterable[Values]) -> Iterator[tuple[Values, Matrix, Matrix, int, range]]:
        """What to measure: matrices of both sides, the number of their first row in the weight, and rows of them."""
        for item in values:
            sides = (item.left, item.right)
            stacked = any(not s.is_plain and len(s.shape) == 3 for s in sides)
            try:
                ours, theirs = (s.matrices(stacked=stacked or s.part is not None) for s in sides)
            except OperationError as error:
                item.reason = str(error)
                self._count_rest(item)
                continue
            first = 0
            for a, b in zip(ours, theirs, strict=True):
                height = a.rows if a.turned or b.turned else max(1, _ELEMENTS // max(1, a.columns))
                for start in range(0, a.rows, height):
                    yield item, a, b, first, range(start, min(start + height, a.rows))
                first += a.rows

    def _measure(self, stripe: tuple[Values, Matrix, Matrix, int, range]) -> tuple[Values, Measured]:
        item, ours, theirs, first, rows = stripe
        base, other, sources = ours, theirs, [self.left, self.right]
        if self.base_is_right:
            base, other, sources = theirs, ours, sources[::-1]
        reference, _ = base.read(sources[0], rows)
        result, codes = other.read(sources[1], rows)
        dtype = None if codes is None else other.weight.dtype
        return item, measure(reference, result, first_row=first + rows.start, codes=codes, dtype=dtype)

    def _count_rest(self, item: Values) -> None:
        """Count the bytes that were not compared."""
        tensor, part = item.left.tensor, item.left.part
        if tensor is None or item.parts:
            return
        nbytes = tensor.nbytes if part is None else part.rows * tensor.shape[-1] * _width(tensor.dtype)
        if item.counted != nbytes:
            self.progress(nbytes - item.counted)
            item.counted = nbytes

    def differences(self, item: Values) -> Iterator[Difference]:
        """What there is to say of values that differ, once they were compared."""
        a, b = item.left.tensor, item.right.tensor
        if item.is_told or a is None or b is None:
            return
        if item.first is not None:
            width = _width(a.dtype)
            element = item.first // width
            sides = ((self.left, a), (self.right, b))
            words = [source.read(t.shard, t.start + element * width, width).hex() for source, t in sides]
            yield Difference(a.name, f"values, the first at element {element}", *(f"0x{word}" for word in words))
        elif item.is_off and not item.by_bytes:
            what = "values" if item.left.is_plain and item.right.is_plain else "dequantized weight"
            yield _worst(what, item, base_is_right=self.base_is_right)


def _worst(what: str, item: Values, *, base_is_right: bool) -> Difference:
    errors = item.errors(base_is_right=base_is_right)
    worst = errors.measured.worst
    if worst is None:
        count = f"{errors.measured.not_finite:,}"
        return Difference(item.left.subject, f"{what}, elements that are no numbers on one side or both", count, count)
    values = (f"{worst.reference:g}", f"{worst.result:g}")
    left, right = values[::-1] if base_is_right else values
    return Difference(item.left.subject, f"{what}, the worst at {list(errors.place)}", left, right)


def _width(dtype: str) -> int:
    return max(1, BITS[dtype] // 8)


def _spans(values: Iterable[Values]) -> Iterator[list[Span]]:
    """What is to be compared byte for byte, in pieces of a few megabytes, of many tensors where these are small."""
    batch, held = list[Span](), 0
    for item in values:
        if not item.by_bytes or item.left.tensor is None:
            continue
        nbytes = item.left.tensor.nbytes
        for begin in range(0, nbytes, _BYTES):
            size = min(_BYTES, nbytes - begin)
            batch.append((item, begin, size))
            held += size
            if held >= _BYTES or len(batch) == _TENSORS:
                yield batch
                batch, held = [], 0
    if batch:
        yield batch


def _first_difference(left: bytes, right: bytes) -> int:
    import numpy as np

    return int(np.argmax(np.frombuffer(left, np.uint8) != np.frombuffer(right, np.uint8)))
