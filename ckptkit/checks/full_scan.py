"""One blocked pass over every FP8 weight: what ``--level full`` knows about a checkpoint.

Without its sign bit an E4M3 code grows with the magnitude of its value, and the largest code, 0x7F, is NaN. So one
integer maximum per row or per block answers four questions: is there a NaN, is it all zero, how large is the largest
weight, and does the scale use the range. Counting saturated codes needs a second look at the same bytes and is done
for every eighth chunk only; where the maximum says NaN, NaNs are counted exactly.

Chunks of 1 MiB are read into reused buffers by a few threads, so that the whole scan runs about as fast as ``cat``
and in a few megabytes. The reductions and the reads release the interpreter's lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import FP8_WEIGHT, SCALE_DTYPES
from ckptkit.errors import ContainerError
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel
from ckptkit.model.numbers import numbers
from ckptkit.record import record
from ckptkit.storage.container import Container
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.payload import TensorRef

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Codes = NDArray[numpy.uint8]

CHUNK = 1 << 20
#: Saturated codes are counted in one chunk of so many.
SAMPLE = 8
#: A unit whose largest code stands for less than this uses a 64th of E4M3's range, up to 448.
SLACK_BELOW = 7.0

_NAN, _LARGEST, _MAGNITUDE = 0x7F, 0x7E, 0x7F


@record
class WeightScan:
    """What one weight's bytes are. A *unit* is what has a scale: the tensor, a row, or a block.

    ``absmax`` is the largest magnitude after multiplying with the scale, NaN aside; it is None without a usable scale.
    """

    tensor: TensorRef
    elements: int
    nans: int
    saturated_share: float
    units: int
    zero_units: int
    slack_units: int
    absmax: float | None


def scan_weights(
    container: Container,
    modules: Iterable[QuantizedModule],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda nbytes: None,
) -> dict[str, WeightScan]:
    """Scan the E4M3 weights of these modules; ``progress`` gets the bytes of each finished weight, from any thread."""
    sizes = {header.shard: header.file_size for header in container.headers}
    wanted = sorted(
        (m for m in modules if m.weight.dtype == FP8_WEIGHT and m.weight.nbytes and _is_whole(m, sizes)),
        key=lambda module: (module.weight.shard, module.weight.start),
    )
    count = workers or min(4, os.cpu_count() or 1)
    scanner = _Scanner(container)
    found: dict[str, WeightScan] = {}
    with scanner, ThreadPoolExecutor(max_workers=count) as pool:
        for result in pool.map(scanner.scan, wanted):
            found[result.tensor.name] = result
            progress(result.tensor.nbytes)
        scanner.require_unchanged()
    return found


def _is_whole(module: QuantizedModule, sizes: Mapping[str, int]) -> bool:
    """Whether the weight and its scale lie within their files; a truncated shard is CK102's business."""
    tensors = (module.weight, module.weight_scale)
    return all(tensor is None or tensor.stop <= sizes[tensor.shard] for tensor in tensors)


class _Scanner:
    """Open files and one pair of buffers for each thread."""

    def __init__(self, container: Container) -> None:
        import numpy

        self._numpy = numpy
        self._container = container
        self._local = threading.local()
        self._lock = threading.Lock()
        self._files: dict[str, int | None] = {}
        self._values = numpy.array([_e4m3(code) for code in range(128)], dtype=numpy.float64)

    def __enter__(self) -> _Scanner:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            if descriptor is not None:
                os.close(descriptor)

    def scan(self, module: QuantizedModule) -> WeightScan:
        tensor = module.weight
        granularity = module.scheme.weight.granularity
        tally = _Tally()
        if isinstance(granularity, PerBlock) and len(tensor.shape) == 2:
            units = self._block_maxima(tensor, granularity, tally)
        else:
            units = self._row_maxima(tensor, tally)
        return self._scanned(module, granularity, units, tally)

    def _row_maxima(self, tensor: TensorRef, tally: _Tally) -> Codes:
        """The largest magnitude code of each row; a row longer than a chunk is taken in pieces."""
        numpy = self._numpy
        columns = tensor.shape[-1] if tensor.shape else 1
        rows = tensor.nbytes // columns
        maxima: Codes = numpy.zeros(rows, dtype=numpy.uint8)
        if columns > CHUNK:
            for row in range(rows):
                for piece in self._chunks(tensor, row * columns, (row + 1) * columns, CHUNK, tally):
                    maxima[row] = max(maxima[row], tally.look(piece.max(keepdims=True), piece, numpy))
            return maxima
        step = max(1, CHUNK // columns)
        row = 0
        for piece in self._chunks(tensor, 0, tensor.nbytes, step * columns, tally):
            codes = piece.reshape(-1, columns)
            found = codes.max(axis=1, out=maxima[row : row + len(codes)])
            tally.look(found, piece, numpy)
            row += len(codes)
        return maxima

    def _block_maxima(self, tensor: TensorRef, block: PerBlock, tally: _Tally) -> Codes:
        """The largest magnitude code of each block, row by row of the grid.

        Columns of a band are reduced first, which runs at full width, and their maxima in pieces of a block.
        """
        numpy = self._numpy
        rows, columns = tensor.shape
        starts = numpy.arange(0, columns, block.columns)
        bands = -(-rows // block.rows)
        maxima: Codes = numpy.zeros((bands, len(starts)), dtype=numpy.uint8)
        step = max(1, min(block.rows, CHUNK // columns)) if columns <= CHUNK else 1
        for band in range(bands):
            first, last = band * block.rows, min(rows, (band + 1) * block.rows)
            widest = numpy.zeros(columns, dtype=numpy.uint8)
            if columns > CHUNK:
                for row in range(first, last):
                    position = 0
                    for piece in self._chunks(tensor, row * columns, (row + 1) * columns, CHUNK, tally):
                        part = widest[position : position + len(piece)]
                        tally.look(numpy.maximum(part, piece, out=part), piece, numpy)
                        position += len(piece)
            else:
                for piece in self._chunks(tensor, first * columns, last * columns, step * columns, tally):
                    found = piece.reshape(-1, columns).max(axis=0)
                    tally.look(found, piece, numpy)
                    numpy.maximum(widest, found, out=widest)
            numpy.maximum.reduceat(widest, starts, out=maxima[band])
        flat: Codes = maxima.reshape(-1)
        return flat

    def _chunks(self, tensor: TensorRef, start: int, stop: int, size: int, tally: _Tally) -> Iterator[Codes]:
        """The magnitude codes of a byte range of a tensor, piece by piece, in this thread's buffer."""
        numpy = self._numpy
        raw, codes = self._buffers(size)
        for begin in range(start, stop, size):
            length = min(size, stop - begin)
            data = self._read(tensor, begin, raw[:length])
            piece = codes[:length]
            numpy.bitwise_and(data, _MAGNITUDE, out=piece)
            tally.chunks += 1
            if tally.chunks % SAMPLE == 1:
                tally.sampled += length
                tally.saturated += int(numpy.count_nonzero(piece >= _LARGEST))
            yield piece

    def _buffers(self, size: int) -> tuple[Codes, Codes]:
        known: tuple[Codes, Codes] | None = getattr(self._local, "buffers", None)
        if known is None or len(known[0]) < size:
            known = (self._numpy.empty(size, dtype=self._numpy.uint8), self._numpy.empty(size, dtype=self._numpy.uint8))
            self._local.buffers = known
        return known

    def _read(self, tensor: TensorRef, begin: int, into: Codes) -> Codes:
        """Bytes of a tensor: from a local file into the buffer, from anywhere else as they come."""
        start = tensor.start + begin
        descriptor = self._descriptor(tensor.shard)
        if descriptor is None:
            data = self._container.source.read(tensor.shard, start, len(into))
            remote: Codes = self._numpy.frombuffer(data, dtype=self._numpy.uint8)
            return remote
        view = memoryview(into.data)
        done = 0
        while done < len(into):
            got = os.preadv(descriptor, [view[done:]], start + done)
            if not got:
                raise ContainerError(f"{tensor.shard} ends before {tensor.name} does")
            done += got
        return into

    def _descriptor(self, shard: str) -> int | None:
        """An open file, kept for all threads; None when the shard is not on this machine."""
        with self._lock:
            if shard not in self._files:
                path = self._container.source.local_path(shard)
                self._files[shard] = None if path is None else os.open(path, os.O_RDONLY)
            return self._files[shard]

    def require_unchanged(self) -> None:
        """Raise SourceChanged where a file is not any more what it was when it was listed."""
        for shard, descriptor in self._files.items():
            was = self._container.source.state(shard)
            if descriptor is not None and was not in (None, FileState.of(os.fstat(descriptor))):
                raise source_changed(Path(shard), "read")

    def _scanned(self, module: QuantizedModule, granularity: Granularity, units: Codes, tally: _Tally) -> WeightScan:
        numpy = self._numpy
        tensor = module.weight
        if not isinstance(granularity, (PerBlock, PerChannel)):
            units = units.max(keepdims=True) if len(units) else units
        largest = numpy.minimum(units, _LARGEST)
        magnitudes = self._values[largest]
        zero = int(numpy.count_nonzero(units == 0))
        slack = int(numpy.count_nonzero(magnitudes < SLACK_BELOW)) - zero
        scales = self._scales(module)
        absmax = None
        if scales is not None and scales.size in (1, magnitudes.size) and magnitudes.size:
            with numpy.errstate(all="ignore"):
                absmax = float(numpy.max(magnitudes * scales))
        return WeightScan(
            tensor=tensor,
            elements=tensor.nbytes,
            nans=tally.nans,
            saturated_share=tally.saturated / tally.sampled if tally.sampled else 0.0,
            units=len(units),
            zero_units=zero,
            slack_units=slack,
            absmax=absmax,
        )

    def _scales(self, module: QuantizedModule) -> NDArray[numpy.float64] | None:
        """The weight's scales as doubles, or None when there are none or their type holds no scales."""
        scale = module.weight_scale
        if scale is None or not scale.nbytes or scale.dtype not in SCALE_DTYPES:
            return None
        return numbers(scale.dtype, self._container.read(scale))


@dataclass
class _Tally:
    """Counts over one weight's chunks."""

    chunks: int = 0
    sampled: int = 0
    saturated: int = 0
    nans: int = 0

    def look(self, maxima: Codes, piece: Codes, numpy: Any) -> int:
        """The largest of a piece's maxima; where it is NaN, the NaN codes of the piece are counted."""
        largest = int(maxima.max())
        if largest == _NAN:
            self.nans += int(numpy.count_nonzero(piece == _NAN))
        return largest


def _e4m3(code: int) -> float:
    """The magnitude of an E4M3 code without its sign.

    >>> _e4m3(0x7E), _e4m3(0x38), _e4m3(0x01)
    (448.0, 1.0, 0.001953125)
    """
    exponent, mantissa = code >> 3, code & 7
    value = mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return float(value)
