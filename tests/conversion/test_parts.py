"""Runs of rows: where each part's bytes and scales begin when a weight is cut, and what may be put together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ckptkit.conversion.prepare.parts import Made, cut, joined
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.storage.payload import TensorRef, count
from tests.formats.told import told

BLOCKS = PerBlock(4, 4)
BY_CHANNELS = (
    "write every scale once for each channel first, which keeps all values "
    "(ckptkit convert --granularity channel), into a folder of its own, then put the parts of that together"
)


def tensor(name: str, dtype: str, *shape: int) -> TensorRef:
    """A tensor of its own file, so that none is another's neighbour."""
    return TensorRef(name, dtype, shape, name, 0, count(shape) * (1 if dtype == "F8_E4M3" else 4))


def module(
    name: str, granularity: Granularity, *shape: int, scale: Sequence[int] | None = None, inputs: str | None = None
) -> QuantizedModule:
    """A module; ``scale`` is the shape of its scales where it is not the canonical one, ``inputs`` its input scale."""
    extents = granularity.scale_shape(shape) if scale is None else tuple(scale)
    return QuantizedModule(
        name,
        Scheme(Quantization(granularity), None),
        tensor(f"{name}.weight", "F8_E4M3", *shape),
        tensor(f"{name}.weight_scale", "F32", *extents),
        None if inputs is None else tensor(inputs, "F32"),
    )


def listed(made: Made) -> list[str]:
    """What is to be made, a line each: from which element on and in which shape, or of what."""
    lines = []
    for output in made.tensors.values():
        how = output.parameters.get("first", " + ".join(source.name for source in output.inputs))
        lines.append(f"{output.name} {list(output.shape)}: {output.operation} {how} ({output.reason})")
    return lines


@pytest.mark.parametrize(
    ("whole", "parts", "lines"),
    [
        (
            module("a.qkv", PerChannel(), 8, 6),
            {"a.q": (0, 4), "a.k": (4, 2), "a.v": (6, 2)},
            [
                "a.q.weight [4, 6]: slice 0 (rows of qkv)",
                "a.q.weight_scale [4]: slice 0 (scales of qkv)",
                "a.k.weight [2, 6]: slice 24 (rows of qkv)",
                "a.k.weight_scale [2]: slice 4 (scales of qkv)",
                "a.v.weight [2, 6]: slice 36 (rows of qkv)",
                "a.v.weight_scale [2]: slice 6 (scales of qkv)",
            ],
        ),
        (
            module("a.qkv", PerTensor(), 8, 6),
            {"a.q": (0, 4), "a.k": (4, 4)},
            ["a.q.weight [4, 6]: slice 0 (rows of qkv)", "a.k.weight [4, 6]: slice 24 (rows of qkv)"],
        ),
        (
            module("a.gate_up", BLOCKS, 8, 6),
            {"a.gate": (0, 4), "a.up": (4, 4)},
            [
                "a.gate.weight [4, 6]: slice 0 (rows of gate_up)",
                "a.gate.weight_scale [1, 2]: slice 0 (scales of gate_up)",
                "a.up.weight [4, 6]: slice 24 (rows of gate_up)",
                "a.up.weight_scale [1, 2]: slice 2 (scales of gate_up)",
            ],
        ),
        (
            module("a.gate_up", BLOCKS, 10, 6),
            {"a.gate": (0, 4), "a.up": (4, 6)},
            [
                "a.gate.weight [4, 6]: slice 0 (rows of gate_up)",
                "a.gate.weight_scale [1, 2]: slice 0 (scales of gate_up)",
                "a.up.weight [6, 6]: slice 24 (rows of gate_up)",
                "a.up.weight_scale [2, 2]: slice 2 (scales of gate_up)",
            ],
        ),
        (
            module("a.gate_up", BLOCKS, 10, 6),
            {"a.gate": (0, 5), "a.up": (5, 5)},
            [
                "a.gate.weight [5, 6]: slice 0 (rows of gate_up)",
                "arrangement: a.gate_up: a.gate would begin or end inside a block of 4 rows",
                "  expected rows in multiples of 4",
                "  found rows 0 to 5",
            ],
        ),
        (
            module("a.gate_up", BLOCKS, 10, 6),
            {"a.up": (2, 8)},
            [
                "a.up.weight [8, 6]: slice 12 (rows of gate_up)",
                "arrangement: a.gate_up: a.up would begin or end inside a block of 4 rows",
                "  expected rows in multiples of 4",
                "  found rows 2 to 10",
            ],
        ),
        (
            module("e.up", PerTensor(), 2, 4, 6, scale=[2]),
            {"e.0.up": (0, 4), "e.1.up": (4, 4)},
            [
                "e.0.up.weight [4, 6]: slice 0 (rows of up)",
                "e.0.up.weight_scale []: slice 0 (scales of up)",
                "e.1.up.weight [4, 6]: slice 24 (rows of up)",
                "e.1.up.weight_scale []: slice 1 (scales of up)",
            ],
        ),
        (
            module("e.up", PerTensor(), 2, 4, 6, scale=[1]),
            {"e.0.up": (0, 4), "e.1.up": (4, 4)},
            ["e.0.up.weight [4, 6]: slice 0 (rows of up)", "e.1.up.weight [4, 6]: slice 24 (rows of up)"],
        ),
        (
            module("e.up", PerChannel(), 2, 4, 6),
            {"e.0.gate": (0, 2), "e.1.up": (6, 2)},
            [
                "e.0.gate.weight [2, 6]: slice 0 (rows of up)",
                "e.0.gate.weight_scale [2]: slice 0 (scales of up)",
                "e.1.up.weight [2, 6]: slice 36 (rows of up)",
                "e.1.up.weight_scale [2]: slice 6 (scales of up)",
            ],
        ),
        (
            module("e.up", BLOCKS, 2, 6, 6),
            {"e.0.up": (0, 6), "e.1.up": (6, 6)},
            [
                "e.0.up.weight [6, 6]: slice 0 (rows of up)",
                "e.0.up.weight_scale [2, 2]: slice 0 (scales of up)",
                "e.1.up.weight [6, 6]: slice 36 (rows of up)",
                "e.1.up.weight_scale [2, 2]: slice 4 (scales of up)",
            ],
        ),
        (
            module("a.up", PerGroup(2), 4, 6),
            {"a.gate": (0, 2)},
            [
                "arrangement: a.up: cannot be cut",
                "  expected scales of tensors, channels or blocks",
                "  found per-group 2",
            ],
        ),
        (
            module("a.up", PerChannel(), 4, 6)._replace(weight_scale=None),
            {"a.gate": (0, 2)},
            [
                "arrangement: a.up: cannot be cut",
                "  expected scales of tensors, channels or blocks",
                "  found per-channel",
            ],
        ),
    ],
)
def test_cutting(whole: QuantizedModule, parts: dict[str, tuple[int, int]], lines: list[str]) -> None:
    made = Made()
    found = list(cut(whole._replace(input_scale=tensor("x", "F32")), parts, made))
    assert listed(made) + told(made.refusals) == lines
    assert [part.name for part in found] == list(parts)[: len(found)]
    assert all((part.scheme, part.input_scale) == (whole.scheme, tensor("x", "F32")) for part in found)
    for part in found:
        assert part.weight in made.tensors
        assert part.weight_scale in made.tensors or part.weight_scale == whole.weight_scale
    assert len(found) == (0 if made.refusals else len(parts))


@pytest.mark.parametrize(
    ("members", "experts", "lines"),
    [
        (
            [module("a.q", PerChannel(), 4, 6), module("a.k", PerChannel(), 2, 6)],
            None,
            [
                "a.whole.weight [6, 6]: concat a.q.weight + a.k.weight (parts of whole, one after the other)",
                "a.whole.weight_scale [6]: concat a.q.weight_scale + a.k.weight_scale (parts of "
                "whole, one after the other)",
            ],
        ),
        (
            [module("a.q", PerTensor(), 4, 6, inputs="x"), module("a.k", PerTensor(), 2, 6, inputs="x")],
            None,
            [
                "arrangement: a.whole: its parts have scales of their own: one for all would round them",
                "  expected one scale",
                "  found several",
                f"  help {BY_CHANNELS}",
            ],
        ),
        (
            [module("a.gate", BLOCKS, 4, 6), module("a.up", BLOCKS, 6, 6)],
            None,
            [
                "a.whole.weight [10, 6]: concat a.gate.weight + a.up.weight (parts of whole, one after the other)",
                "a.whole.weight_scale [3, 2]: concat a.gate.weight_scale + a.up.weight_scale (parts "
                "of whole, one after the other)",
            ],
        ),
        (
            [module("a.gate", BLOCKS, 6, 6), module("a.up", BLOCKS, 4, 6)],
            None,
            [
                "arrangement: a.whole: its parts cannot be put together",
                "  expected parts of whole blocks of 4 rows",
                "  found a.gate has 6 rows",
            ],
        ),
        (
            [module("e.0", BLOCKS, 4, 6), module("e.1", BLOCKS, 4, 6)],
            2,
            [
                "a.whole [2, 4, 6]: concat e.0.weight + e.1.weight (parts of whole, one after the other)",
                "a.whole_scale [2, 1, 2]: concat e.0.weight_scale + e.1.weight_scale (parts of "
                "whole, one after the other)",
            ],
        ),
        (
            [module("e.0", BLOCKS, 6, 6), module("e.1", BLOCKS, 6, 6)],
            2,
            [
                "arrangement: a.whole: its parts cannot be put together",
                "  expected parts of whole blocks of 4 rows",
                "  found e.0 has 6 rows",
            ],
        ),
        (
            [module(f"e.{n}", BLOCKS, 4, 6) for n in range(4)],
            2,
            [
                "a.whole [2, 8, 6]: concat e.0.weight + e.1.weight + e.2.weight + e.3.weight (parts "
                "of whole, one after the other)",
                "a.whole_scale [2, 2, 2]: concat e.0.weight_scale + e.1.weight_scale + "
                "e.2.weight_scale + e.3.weight_scale (parts of whole, one after the other)",
            ],
        ),
        (
            [module(f"e.{n}", BLOCKS, 6 if n == 3 else 4, 6) for n in range(4)],
            2,
            [
                "arrangement: a.whole: its parts cannot be put together",
                "  expected parts of whole blocks of 4 rows",
                "  found e.3 has 6 rows",
            ],
        ),
        (
            [module("e.0", PerTensor(), 4, 6), module("e.1", PerTensor(), 4, 6)],
            2,
            [
                "a.whole [2, 4, 6]: concat e.0.weight + e.1.weight (parts of whole, one after the other)",
                "a.whole_scale [2]: concat e.0.weight_scale + e.1.weight_scale (parts of whole, one after the other)",
            ],
        ),
        (
            [module(f"e.{n}", PerTensor(), 4, 6) for n in range(4)],
            2,
            [
                "arrangement: a.whole: its parts have scales of their own: one for all would round them",
                "  expected one scale",
                "  found several",
                f"  help {BY_CHANNELS}",
            ],
        ),
        (
            [module("e.0", PerChannel(), 4, 6), module("e.1", PerChannel(), 4, 6)],
            2,
            [
                "a.whole [2, 4, 6]: concat e.0.weight + e.1.weight (parts of whole, one after the other)",
                "a.whole_scale [2, 4]: concat e.0.weight_scale + e.1.weight_scale (parts of whole, "
                "one after the other)",
            ],
        ),
        (
            [module("a.q", PerChannel(), 4, 6), module("a.k", PerTensor(), 4, 6)],
            None,
            [
                "arrangement: a.whole: its parts have different schemes or columns",
                "  expected W8A16 FP8, static per-channel weights, activations not quantized",
                "  found others",
            ],
        ),
        (
            [module("a.q", PerChannel(), 4, 6), module("a.k", PerChannel(), 4, 8)],
            None,
            [
                "arrangement: a.whole: its parts have different schemes or columns",
                "  expected W8A16 FP8, static per-channel weights, activations not quantized",
                "  found others",
            ],
        ),
        (
            [module("a.q", PerChannel(), 4, 6), module("a.k", PerChannel(), 4, 6)._replace(weight_scale=None)],
            None,
            [
                "arrangement: a.whole: its parts have different schemes or columns",
                "  expected W8A16 FP8, static per-channel weights, activations not quantized",
                "  found others",
            ],
        ),
        (
            [module("a.q", PerGroup(2), 4, 6), module("a.k", PerGroup(2), 4, 6)],
            None,
            [
                "arrangement: a.whole: its parts cannot be put together",
                "  expected scales of one kind",
                "  found several, or groups",
            ],
        ),
        (
            [
                module("a.q", PerChannel(), 4, 6),
                module("a.k", PerChannel(), 4, 6)._replace(weight_scale=tensor("s", "F8_E4M3", 4)),
            ],
            None,
            [
                "arrangement: a.whole: its parts cannot be put together",
                "  expected scales of one kind",
                "  found several, or groups",
            ],
        ),
        (
            [module("a.q", PerTensor(), 4, 6, inputs="x"), module("a.k", PerTensor(), 4, 6, inputs="y")],
            None,
            [
                "arrangement: a.whole: its parts have scales of their own: one for all would round them",
                "  expected one scale",
                "  found several",
            ],
        ),
        (
            [module("a.q", PerTensor(), 4, 6, inputs="x"), module("a.k", PerTensor(), 4, 6)],
            None,
            [
                "arrangement: a.whole: its parts have scales of their own: one for all would round them",
                "  expected one scale",
                "  found several",
            ],
        ),
    ],
)
def test_putting_together(members: list[QuantizedModule], experts: int | None, lines: list[str]) -> None:
    made = Made()
    found = joined("a.whole", members, experts, made, {})
    assert listed(made) + told(made.refusals) == lines
    assert (found is None) == bool(made.refusals)
    if found is not None:
        assert (found.name, found.scheme, found.experts) == ("a.whole", members[0].scheme, experts)
        assert found.input_scale == members[0].input_scale
        assert made.used == {}


def test_scales_that_are_alike_are_one() -> None:
    """Of scales of whole tensors with the same bytes the first stands for all; so does the first input scale."""
    members = [module(f"a.{last}", PerTensor(), 4, 6, inputs=f"{last}.x") for last in "qk"]
    same: dict[TensorRef, TensorRef] = {}
    for mine in ("weight_scale", "input_scale"):
        same[getattr(members[1], mine)] = getattr(members[0], mine)
    made = Made()
    found = joined("a.qk", members, None, made, same)
    assert found is not None and made.refusals == []
    assert (found.weight_scale, found.input_scale) == (members[0].weight_scale, members[0].input_scale)
    why = "the same value as its neighbours'"
    assert made.used == {members[1].weight_scale: why, members[1].input_scale: why}
    assert listed(made) == ["a.qk.weight [8, 6]: concat a.q.weight + a.k.weight (parts of qk, one after the other)"]
