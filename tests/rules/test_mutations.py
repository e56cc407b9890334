"""Random damage: any named mutation, on any real fixture that it applies to, brings its code and nothing unrelated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ckptkit.checks.registry import Level
from tests.damage import MutableCheckpoint, count, exactly, load
from tests.raw import RawTensor
from tests.rules.case import base_codes, codes
from tests.rules.test_fixtures import EXPECTED

#: Clean and quantized: of the base, only the files are judged.
#: Exports in which nothing is FP8 with one scale: the damages here are to such modules.
_OTHERS = frozenset({"llama/bf16", "llama-block-aligned/modelopt-mxfp8", "llama-block-aligned/modelopt-nvfp4"})
CLEAN = sorted(fixture for fixture, (serious, _) in EXPECTED.items() if not serious and fixture not in _OTHERS)
ALWAYS = frozenset({"CK114", "CK204", "CK606"})


@dataclass(frozen=True)
class Mutation:
    """One kind of damage to one tensor, by the ending of its name.

    ``related`` are codes that the same damage brings in some fixtures: a scale that is gone is no longer compared.
    """

    code: str
    ending: str
    change: Callable[[MutableCheckpoint, str], None]
    related: frozenset[str] = frozenset()
    applies: Callable[[MutableCheckpoint, RawTensor], bool] = lambda checkpoint, tensor: True


def _drop(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.drop(exactly(name))


def _retag(dtype: str) -> Callable[[MutableCheckpoint, str], None]:
    return lambda checkpoint, name: checkpoint.change(exactly(name), lambda t: t._replace(dtype=dtype))


def _reshape(*shape: int) -> Callable[[MutableCheckpoint, str], None]:
    return lambda checkpoint, name: checkpoint.change(exactly(name), lambda t: t._replace(shape=shape))


def _first_value(raw: bytes) -> Callable[[MutableCheckpoint, str], None]:
    def change(checkpoint: MutableCheckpoint, name: str) -> None:
        width = 4 if checkpoint.get(name).dtype == "F32" else 2
        value = raw.rjust(width, b"\0") if width == 4 else raw
        checkpoint.change(exactly(name), lambda t: t._replace(data=value + t.data[width:]))

    return change


def _nan_code(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.change(exactly(name), lambda t: t._replace(data=t.data[:5] + b"\x7f" + t.data[6:]))


def _to_int(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.change(exactly(name), lambda t: t._replace(dtype="I8", data=bytes(count(t))))


def _foreign(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.put(f"{name}_quantizer._amax", "F32", (), bytes(4))


def _rename_legacy(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.rename(exactly(name), name.replace(".weight_scale", ".weight_quantizer.scale"))


def _two_values(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.change(exactly(name), lambda t: t._replace(shape=(2,), data=t.data * 2))


def _is_quark(checkpoint: MutableCheckpoint, tensor: RawTensor) -> bool:
    return checkpoint.block["quant_method"] == "quark"


def _single(checkpoint: MutableCheckpoint, tensor: RawTensor) -> bool:
    return count(tensor) == 1 and len(tensor.shape) < 2


def _channels(checkpoint: MutableCheckpoint, tensor: RawTensor) -> bool:
    return len(tensor.shape) >= 1 and count(tensor) > 4 and 1 in (len(tensor.shape), tensor.shape[-1])


def _fp8(checkpoint: MutableCheckpoint, tensor: RawTensor) -> bool:
    return tensor.dtype == "F8_E4M3"


#: A scale that is gone or changed no longer differs, or newly differs, from those of its fused neighbours.
_NEIGHBOURS = frozenset({"CK704", "CK705"})
MUTATIONS: Mapping[str, Mutation] = {
    "weight scale lost": Mutation("CK201", ".weight_scale", _drop, _NEIGHBOURS),
    "input scale lost": Mutation("CK621", ".input_scale", _drop, _NEIGHBOURS),
    "weight lost": Mutation("CK202", "_proj.weight", _drop, _NEIGHBOURS | {"CK904"}, _fp8),
    "legacy scale name": Mutation("CK204", "_proj.weight_scale", _rename_legacy, applies=_is_quark),
    "internal tensor": Mutation("CK208", "_proj.weight", _foreign),
    "channel scale of another rank": Mutation(
        "CK301", "_proj.weight_scale", lambda d, n: _flip_rank(d, n), applies=_channels
    ),
    "scalar of rank two": Mutation("CK302", "_proj.weight_scale", _reshape(1, 1), applies=_single),
    "fnuz weight": Mutation("CK405", "_proj.weight", _retag("F8_E4M3FNUZ"), applies=_fp8),
    "e5m2 weight": Mutation("CK406", "_proj.weight", _retag("F8_E5M2"), applies=_fp8),
    "int8 weight": Mutation("CK407", "o_proj.weight", _to_int, frozenset({"CK202", "CK605"}), _fp8),
    "zero scale": Mutation("CK501", "_proj.weight_scale", _first_value(b"\0\0"), _NEIGHBOURS),
    "infinite scale": Mutation("CK502", "_proj.weight_scale", _first_value(b"\x80\x7f"), _NEIGHBOURS),
    "negative scale": Mutation("CK502", "_proj.input_scale", _first_value(b"\x80\xbf"), _NEIGHBOURS),
    "NaN in a weight": Mutation("CK503", "_proj.weight", _nan_code, applies=_fp8),
    "infinite KV scale": Mutation("CK906", ".k_scale", _first_value(b"\x80\x7f")),
    "several KV scales": Mutation("CK907", ".k_scale", _two_values, applies=_single),
    "key scale lost": Mutation("CK904", ".k_scale", _drop),
}


def _flip_rank(checkpoint: MutableCheckpoint, name: str) -> None:
    checkpoint.change(exactly(name), lambda t: t._replace(shape=(*t.shape, 1) if len(t.shape) == 1 else t.shape[:1]))


@given(st.data())
@settings(max_examples=250, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_code_and_nothing_unrelated(data: st.DataObject) -> None:
    fixture = data.draw(st.sampled_from(CLEAN))
    mutation = MUTATIONS[data.draw(st.sampled_from(sorted(MUTATIONS)))]
    checkpoint = load(fixture)
    names = [
        name
        for tensors in checkpoint.shards.values()
        for name, tensor in tensors.items()
        if name.endswith(mutation.ending) and mutation.applies(checkpoint, tensor)
    ]
    assume(names)
    mutation.change(checkpoint, data.draw(st.sampled_from(names)))
    if checkpoint.index is not None:
        checkpoint.true_index()
    found = codes(checkpoint, Level.FULL) - base_codes(fixture, Level.FULL)
    assert mutation.code in found
    assert found <= {mutation.code} | mutation.related


def test_every_mutation_applies_somewhere() -> None:
    for label, mutation in MUTATIONS.items():
        drafts = [load(fixture) for fixture in CLEAN]
        assert any(
            name.endswith(mutation.ending) and mutation.applies(checkpoint, tensor)
            for checkpoint in drafts
            for tensors in checkpoint.shards.values()
            for name, tensor in tensors.items()
        ), label
