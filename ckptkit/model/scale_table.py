"""The values of all scales of a checkpoint, judged together where they lie side by side.

There may be a hundred thousand scales of a few bytes each, and nearly always nothing is wrong with any of them: a run
of neighbours is judged as a whole, and its scales one by one only where somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import copy
from functools import cached_property
from typing import TypeAlias

from ckptkit.model.values import ScaleValues, scale_values, values_in_run
from ckptkit.storage.container import Container, Neighbours
from ckptkit.storage.payload import ByteRange, TensorRef

#: A scale, and what its values are.
Judged: TypeAlias = tuple[TensorRef, ScaleValues]

#: Bytes up to which a scale is small. Those of larger ones are judged at once, so that they need not be kept.
_SMALL = 256


class Run:
    """Neighbouring scales, judged: ``data`` are the bytes of their span.

    ``whole`` is what all their values are where they are small, have one dtype, and no hole is between them; else None.
    """

    def __init__(self, scales: Neighbours, data: bytes) -> None:
        small = len(data) <= _SMALL * len(scales.tensors)
        self.scales = scales
        self._dtype = _dtype(scales)
        self.whole = scale_values(self._dtype, data) if small and self._dtype is not None else None
        self._data = data if small else b""
        self._values = None if small else tuple(values_in_run(scales.tensors, data))

    @property
    def each(self) -> Iterator[Judged]:
        """The scales one by one, without those whose dtype holds no scales."""
        if self._values is None:
            self._values = tuple(values_in_run(self.scales.tensors, self._data))
        found = zip(self.scales.tensors, self._values, strict=True)
        return ((tensor, values) for tensor, values in found if values is not None)

    def of(self, scales: Neighbours) -> Run | None:
        """The run of other scales that have the very same bytes; None where they are cut otherwise."""
        known = self.whole is not None and _dtype(scales) == self._dtype
        if not known and _cuts(scales) != _cuts(self.scales):
            return None
        run = copy(self)
        run.scales = scales
        if known:
            run._values = None
        return run


def _dtype(scales: Neighbours) -> str | None:
    """The dtype of all bytes of a run; None where there are several, or holes."""
    dtypes = {tensor.dtype for tensor in scales.tensors}
    return dtypes.pop() if scales.gapless and len(dtypes) == 1 else None


def _cuts(scales: Neighbours) -> list[tuple[str, int, int]]:
    """The dtypes of neighbours, where they begin, counted from the first, and their bytes."""
    return [(dtype, start - scales.span.start, nbytes) for _, dtype, _, _, start, nbytes in scales.tensors]


def still_held(container: Container, wanted: Iterable[TensorRef], unread: Collection[str] = ()) -> Iterable[TensorRef]:
    """Of some tensors those that lie whole in their shards, without the ``unread`` ones by name."""
    sizes = {header.shard: header.file_size for header in container.headers if header.faults}
    if not sizes and not unread:
        return wanted
    held = (tensor for tensor in wanted if tensor.stop <= sizes.get(tensor.shard, tensor.stop))
    return tuple(tensor for tensor in held if tensor.name not in unread)


class ScaleTable(Mapping[str, Judged]):
    """Scales, each with its values, by name. Asking for one of them judges every one: see :meth:`where`.

    ``places`` are runs by where their bytes are stored.
    """

    def __init__(
        self, container: Container, wanted: Iterable[TensorRef], known: Mapping[ByteRange, Run] | None = None
    ) -> None:
        """Read scales, neighbours at once; not those of runs that are ``known`` by where their bytes are stored."""
        self.places: dict[ByteRange, Run] = {}
        self._runs: list[Run] = []
        known, unread = known or {}, []
        for scales in container.runs(wanted):
            place = container.source.origin(scales.span)
            run = known[place].of(scales) if place is not None and place in known else None
            if run is None:
                unread.append(scales)
            else:
                self._add(run, place)
        for scales, data in container.read_runs(unread):
            self._add(Run(scales, data), container.source.origin(scales.span))

    def _add(self, run: Run, place: ByteRange | None) -> None:
        self._runs.append(run)
        if place is not None:
            self.places[place] = run

    def where(self, condition: Callable[[ScaleValues], object]) -> Iterator[Judged]:
        """The scales whose values meet a condition: one that all values of a run meet together if one scale's do."""
        for run in self._runs:
            if run.whole is None or condition(run.whole):
                yield from (judged for judged in run.each if condition(judged[1]))

    @cached_property
    def _by_name(self) -> dict[str, Judged]:
        return {judged[0].name: judged for run in self._runs for judged in run.each}

    def __getitem__(self, name: str) -> Judged:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
