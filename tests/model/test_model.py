"""The canonical model: patterns, names, scale shapes, scale values, and the census of stored tensors."""

from __future__ import annotations

import array
import fnmatch
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.errors import FormatError
from ckptkit.formats.compressed_tensors.dialect import ROLES as CT_ROLES
from ckptkit.formats.quark.dialect import ROLES as QUARK_ROLES
from ckptkit.model import names, values
from ckptkit.model.census import Role, take_census
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.select import Exact, Glob, Regex, Selector, glob_or_exact, regex_or_exact
from ckptkit.model.values import decode, e8m0_to_f32, scale_values
from ckptkit.storage.payload import TensorRef
from tests.damage import REAL

_TEXT = st.text(alphabet="ab.01*?[]_-é", max_size=12)


@given(name=_TEXT, text=_TEXT)
def test_globs_are_those_of_fnmatch(name: str, text: str) -> None:
    assert glob_or_exact(text).matches(name) == fnmatch.fnmatchcase(name, text)


@pytest.mark.parametrize(
    ("text", "kind", "matching", "other"),
    [
        ("lm_head", Exact, "lm_head", "model.lm_head"),
        ("re:.*q_proj", Regex, "a.q_proj_extra", "a.k_proj"),
        ("re:q_proj", Regex, "q_proj", "a.q_proj"),
        ("a.b", Exact, "a.b", "aXb"),
    ],
)
def test_names_and_regexes(text: str, kind: type, matching: str, other: str) -> None:
    pattern = regex_or_exact(text)
    assert isinstance(pattern, kind)
    assert pattern.matches(matching) and not pattern.matches(other)


def test_selectors() -> None:
    selector = Selector.of([Exact("a"), Glob("b.*"), Regex("c"), Glob("*")])
    assert selector.matches("a") and Selector.of([]).matches("a") is False
    assert selector.first("b.x") == Glob("b.*")
    assert selector.first("d") == Glob("*")
    with pytest.raises(FormatError, match="invalid pattern"):
        Selector.of([Regex("(")]).matches("a")


@pytest.mark.parametrize(
    ("granularity", "shape", "expected", "words"),
    [
        (PerTensor(), (64, 256), (), "per-tensor"),
        (PerChannel(), (64, 256), (64,), "per-channel"),
        (PerBlock(128, 128), (64, 256), (1, 2), "per-block 128x128"),
        (PerBlock(128, 64), (129, 65), (2, 2), "per-block 128x64"),
        (PerBlock(128, 128), (0, 256), (0, 2), "per-block 128x128"),
        (PerGroup(128), (64, 300), (64, 3), "per-group 128"),
        (PerToken(), (7, 256), (7,), "per-token"),
        (PerHead(), (8,), (8,), "per-head"),
    ],
)
def test_scale_shapes(granularity: Granularity, shape: tuple[int, ...], expected: tuple[int, ...], words: str) -> None:
    assert granularity.scale_shape(shape) == expected
    assert str(granularity) == words


@given(st.lists(st.sampled_from(["BF16", "F32"]), min_size=1, max_size=1), st.lists(st.floats(width=16), max_size=9))
def test_scale_values_agree_with_floats(dtypes: list[str], values: list[float]) -> None:
    (dtype,) = dtypes
    packed = [struct.pack("<f", value) for value in values]
    data = b"".join(raw[2:] if dtype == "BF16" else raw for raw in packed)
    decoded = [struct.unpack("<f", (b"\0\0" + raw[2:]) if dtype == "BF16" else raw)[0] for raw in packed]
    found = scale_values(dtype, data)
    assert found is not None and found.size == len(values)
    good = [value for value in decoded if 0 < value < float("inf")]
    assert found.zeros == tuple(index for index, value in enumerate(decoded) if value == 0)
    assert found.invalid == tuple(index for index, value in enumerate(decoded) if value != 0 and value not in good)
    if good:
        assert (found.minimum, found.maximum) == (min(good), max(good))


def test_e8m0() -> None:
    assert scale_values("F8_E8M0", bytes([0, 254])) == scale_values("F32", e8m0_to_f32(bytes([0, 254])))
    found = scale_values("F8_E8M0", bytes([127, 255]))
    assert found is not None and found.invalid == (1,)
    assert all(struct.unpack("<f", e8m0_to_f32(bytes([code])))[0] == decode("F8_E8M0", code) for code in range(255))
    assert scale_values("I32", bytes(4)) is None


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E8M0"])
@given(data=st.binary(min_size=1 << 10, max_size=1 << 11))
def test_many_scales_are_judged_by_numpy_as_by_python(dtype: str, data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "_extremes", values._Extremes(1 << 30))
        plain = scale_values(dtype, data)
        patch.setattr(values, "_extremes", values._Extremes(0))
        assert repr(scale_values(dtype, data)) == repr(plain)  # NaN is not equal to itself
        sound = b"\x3f" * len(data)
        found, few = scale_values(dtype, sound), scale_values(dtype, sound[:16])
        assert found is not None and few is not None
        assert found[1:] == few[1:]


def test_numpy_is_imported_for_many_scales_alone() -> None:
    looked_at = values._Extremes(100)
    numbers = array.array("H", range(1, 81))
    assert [looked_at(numbers) for _ in range(3)] == [(1, 80)] * 3
    assert looked_at.patience == 100 - 2 * 80
    assert looked_at(numbers[:1]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "embedding"),
    [
        ("model.embed_tokens", True),
        ("transformer.wte", True),
        ("model.tok_embeddings", True),
        ("lm_head", False),
        ("embed_out", False),
        ("model.layers.0.mlp.up_proj", False),
        ("model.shared_expert", False),
    ],
)
def test_embeddings(name: str, embedding: bool) -> None:
    assert names.is_embedding(name) == embedding


@given(st.permutations(["a", "a.0", "a.00", "a.b", "b.1.x", "b.02.x", "b.10.x", "b.10.x.2", "é.1", ""]))
def test_natural_order_is_total(modules: list[str]) -> None:
    ordered = sorted(modules, key=names.natural)
    assert ordered == ["", "a", "a.0", "a.00", "a.b", "b.1.x", "b.02.x", "b.10.x", "b.10.x.2", "é.1"]


def tensor(name: str, dtype: str = "BF16", shape: tuple[int, ...] = (4,)) -> TensorRef:
    return TensorRef(name, dtype, shape, "model.safetensors", 0, 0)


def census_of(*tensors: TensorRef, roles: str = "quark"):
    return take_census({item.name: item for item in tensors}, CT_ROLES if roles == "ct" else QUARK_ROLES)


@pytest.mark.parametrize(
    "name",
    [
        "logit_scale",
        "model.layers.0.altup.correct_output_scale",
        "model.layers.0.router.per_expert_scale",
        "vision.ln.scale",
        "model.layers.0.self_attn.q_proj.bias",
    ],
)
def test_a_models_own_scales_are_plain(name: str) -> None:
    found = census_of(tensor(name), tensor("model.layers.0.mlp.up_proj.weight", "F8_E4M3", (4, 4)))
    assert [item.name for item in found.plain] == [name]
    assert not found.foreign


@pytest.mark.parametrize(
    "name",
    [
        "a.weight_zero_point",
        "a.input_zero_point",
        "a.activation_scale",
        "a.weight_scale_2",
        "a.weight_quantizer._amax",
        "a._input_quantizer.scale",
        "a.g_idx",
        "a.weight_packed",
        "a.scale",
        "experts.gate_up_proj_scale",
        "experts.down_proj_scale_inv",
        "a.e8m0",
    ],
)
@pytest.mark.parametrize("roles", ["ct", "quark"])
def test_a_quantizers_tensors_are_never_plain(name: str, roles: str) -> None:
    dtype = "F8_E8M0" if name.endswith("e8m0") else "F32"
    weights = (tensor("a.weight", "F8_E4M3", (4, 4)), tensor("experts.gate_up_proj", "F8_E4M3", (2, 4, 4)))
    found = census_of(tensor(name, dtype), *weights, tensor("experts.down_proj", "F8_E4M3", (2, 4, 4)), roles=roles)
    assert [item.name for item in found.foreign] == [name]


def test_every_tensor_is_counted_once() -> None:
    tensors = [
        tensor("a.weight", "F8_E4M3", (4, 4)),
        tensor("a.weight_scale"),
        tensor("a.weight_scale_inv"),
        tensor("b.weight", "BF16", (4, 4)),
        tensor("norm.weight"),
        tensor("conv.weight", "F8_E4M3", (4, 4, 1)),
        tensor("a.bias", "F8_E4M3"),
        tensor("self_attn.k_scale"),
    ]
    found = census_of(*tensors)
    assert set(found.weights) == {"a", "b"}
    assert [item.name for item in found.plain] == ["norm.weight"]
    assert [item.name for item in found.fp8_elsewhere] == ["conv.weight", "a.bias"]
    assert [item.name for item in found.foreign] == ["a.weight_scale_inv"]
    assert set(found.roles[Role.WEIGHT_SCALE]) == {"a"} and set(found.roles[Role.K_SCALE]) == {"self_attn"}
    counted = len(found.weights) + len(found.plain) + len(found.fp8_elsewhere) + len(found.foreign)
    assert counted + sum(len(members) for members in found.roles.values()) == len(tensors)


def test_what_a_person_prints_is_short() -> None:
    checkpoint = ckptkit.open(REAL / "llama" / "quark-ptpc")
    assert repr(checkpoint).startswith("<Checkpoint '") and "quark (native), 14 quantized modules" in repr(checkpoint)
    assert ": 1 shard, 35 tensors>" in repr(checkpoint.container)
    plan = ckptkit.plan(REAL / "llama" / "quark-ptpc", to="ct")
    assert "quark (native) to compressed-tensors, 14 tensors changed" in repr(plan)
    assert max(len(repr(item)) for item in (checkpoint, checkpoint.container, plan)) < 300
