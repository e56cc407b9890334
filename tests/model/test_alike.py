"""Modules that are alike stand for each other: what is asked of one and counted times their number."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.inventory import Kind, KindCount, Tally, tally
from ckptkit.model.values import scale_values, values_in_run
from ckptkit.storage.payload import TensorRef
from tests.damage import REAL

#: The real exports that ckptkit reads; they are opened by the tests alone.
CHECKPOINTS = sorted(
    path.parent for path in REAL.rglob("config.json") if path.parent.name not in ("bf16", "quark-fp8-fake")
)


def headline(module: QuantizedModule) -> tuple[object, ...]:
    """What two modules share that are alike."""
    stored = (module.weight, module.weight_scale, module.input_scale)
    return (
        names.generalise(module.name),
        module.scheme,
        *(tensor and (tensor.dtype, tensor.shape) for tensor in stored),
    )


def scales_of(checkpoint: Checkpoint) -> set[str]:
    """The names of everything that is no weight and no plain parameter."""
    opaque = (t for m in checkpoint.opaque.values() for t in m.parts.values() if t is not m.weight)
    others = (*checkpoint.scale_tensors(), *checkpoint.orphans, *checkpoint.foreign, *opaque)
    return {tensor.name for tensor in others}


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: str(path.relative_to(REAL)))
def test_every_module_is_among_those_that_it_is_like(path: Path) -> None:
    checkpoint = ckptkit.open(path)
    together = [module for kind in checkpoint.alike for module in kind.modules]
    assert sorted(module.name for module in together) == sorted(checkpoint.modules)
    lines = [{headline(module) for module in kind.modules} for kind in checkpoint.alike]
    assert all(len(found) == 1 for found in lines)
    assert len(set().union(*lines)) == len(lines)
    assert [kind.name for kind in checkpoint.alike] == [names.generalise(kind.first.name) for kind in checkpoint.alike]


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: str(path.relative_to(REAL)))
def test_what_is_counted_by_kind_is_every_tensor_once(path: Path) -> None:
    checkpoint = ckptkit.open(path)
    summary = ckptkit.inspect(checkpoint)
    stored = checkpoint.container.tensors.values()
    by_dtype = Counter(tensor.dtype for tensor in stored)
    assert {code: count for code, (count, _) in summary.tally.dtypes.items()} == by_dtype
    assert summary.data_bytes == checkpoint.container.data_bytes
    counted = {item.kind: item for item in summary.tally.kinds}
    scales = scales_of(checkpoint)
    assert (counted[Kind.SCALE].tensors if Kind.SCALE in counted else 0) == len(scales)
    one_by_one = tally(t for t in stored if t.name not in scales).parameters
    if not checkpoint.opaque:
        assert summary.parameters == one_by_one


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: str(path.relative_to(REAL)))
def test_every_module_is_in_one_line_of_the_summary(path: Path) -> None:
    checkpoint = ckptkit.open(path)
    counted: Counter[str] = Counter()
    for line in ckptkit.inspect(checkpoint).modules:
        counted[line.name] += line.count
    modules = (*checkpoint.modules, *checkpoint.opaque, *checkpoint.unquantized)
    assert counted == Counter(map(names.generalise, modules))
    assert list(counted) == sorted(counted, key=names.natural)


def test_times() -> None:
    one = Tally((KindCount(Kind.LINEAR, 1, 8, 4), KindCount(Kind.OTHER, 2, 6, None)), {"BF16": (3, 14)})
    assert one.times(3) == one + one + one
    assert one.times(3).parameters is None and one.times(3).kinds[0].parameters == 12


_WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "F8_E8M0": 1, "I32": 4}


@given(
    scales=st.lists(st.tuples(st.sampled_from(sorted(_WIDTHS)), st.integers(0, 5), st.integers(0, 3)), min_size=1),
    data=st.binary(min_size=8, max_size=64),
    missing=st.integers(0, 9),
)
def test_values_in_a_run_are_those_of_each_scale(scales: list[tuple[str, int, int]], data: bytes, missing: int) -> None:
    run, offset = [], 100
    for number, (dtype, count, hole) in enumerate(scales):
        tensor = TensorRef(f"{number}", dtype, (count,), "a", offset, count * _WIDTHS[dtype])
        run.append(tensor)
        offset = tensor.stop + hole
    whole = (data * offset)[: max(0, run[-1].stop - 100 - missing)]
    found = dict(zip(run, values_in_run(run, whole), strict=True))
    for tensor in run:
        own = whole[tensor.start - 100 : tensor.stop - 100]
        held = tensor.stop - 100 <= len(whole)
        assert found[tensor] == (scale_values(tensor.dtype, own) if held else None)
