"""Tensors by kind and type: what a name makes of each, sums, and the documents that hold them."""

from __future__ import annotations

import pytest

from ckptkit.model.inventory import Inventory, Kind, KindCount, PartOfFolder, Tally, tally
from ckptkit.storage.payload import TensorRef, size_of
from ckptkit.storage.traffic import Traffic


def tensor(name: str, dtype: str = "BF16", *shape: int) -> TensorRef:
    return TensorRef(name, dtype, shape, "s", 0, size_of(dtype, shape))


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "kind", "parameters"),
    [
        ("layers.0.mlp.up_proj.weight", "F8_E4M3", (4, 8), Kind.LINEAR, 32),
        ("layers.0.mlp.up_proj.weight", "F4", (4, 8), Kind.LINEAR, 32),
        ("layers.0.mlp.up_proj.weight", "U8", (4, 8), Kind.LINEAR, None),
        ("layers.0.mlp.experts.0.up_proj.weight", "BF16", (4, 8), Kind.EXPERT, 32),
        ("layers.0.mlp.experts.up_proj", "BF16", (2, 4, 8), Kind.EXPERT, 64),
        ("layers.0.mlp.experts.up_proj", "BF16", (8,), Kind.OTHER, 8),
        ("layers.0.mlp.experts.0.norm.weight", "BF16", (8,), Kind.NORM, 8),
        ("embed_tokens.weight", "BF16", (4, 8), Kind.EMBEDDING, 32),
        ("embed_tokens.weight", "BF16", (8,), Kind.OTHER, 8),
        ("embed_tokens.table", "BF16", (4, 8), Kind.OTHER, 32),
        ("model.norm.weight", "F32", (8,), Kind.NORM, 8),
        ("model.norm.weight", "F32", (2, 8), Kind.LINEAR, 16),
        ("model.LayerNorm.gamma", "F32", (8,), Kind.NORM, 8),
        ("model.block.norm_weight", "F32", (8,), Kind.NORM, 8),
        ("h.0.ln_1.weight", "F32", (8,), Kind.NORM, 8),
        ("h.0.lnx.weight", "F32", (8,), Kind.OTHER, 8),
        ("h.0.norm.bias", "F32", (8,), Kind.BIAS, 8),
        ("experts.down_proj_bias", "F32", (2, 8), Kind.BIAS, 16),
        ("conv.weight", "F32", (2, 4, 8), Kind.OTHER, 64),
        ("a.weight_scale", "F32", (2,), Kind.SCALE, 0),
        ("a.g_idx", "I32", (8,), Kind.SCALE, 0),
        ("a.scale", "F32", (), Kind.OTHER, 1),
        ("bias", "F32", (2,), Kind.BIAS, 2),
    ],
)
def test_kinds(name: str, dtype: str, shape: tuple[int, ...], kind: Kind, parameters: int | None) -> None:
    nbytes = size_of(dtype, shape)
    found = tally([tensor(name, dtype, *shape)])
    assert found == Tally((KindCount(kind, 1, nbytes, parameters),), {dtype: (1, nbytes)})


class Gptq:
    """A quantizer's names."""

    packed = ("qweight",)
    scales = ("qzeros", "_absmax")


@pytest.mark.parametrize(
    ("name", "dtype", "kind", "parameters"),
    [
        ("a.qweight", "I32", Kind.LINEAR, 64),
        ("a.qweight", "BF16", Kind.LINEAR, 8),
        ("a.experts.0.qweight", "I32", Kind.EXPERT, 64),
        ("a.qzeros", "I32", Kind.SCALE, 0),
        ("a.weight_absmax", "F32", Kind.SCALE, 0),
        ("a.absmax", "F32", Kind.OTHER, 8),
    ],
)
def test_a_quantizers_names_and_its_bits(name: str, dtype: str, kind: Kind, parameters: int) -> None:
    (count,) = tally([tensor(name, dtype, 2, 4)], Gptq(), 4).kinds
    assert (count.kind, count.parameters) == (kind, parameters)


def test_what_is_known_of_one_tensor_is_not_said_of_its_like() -> None:
    tensors = [tensor(f"a.{n}.weight", "U8", 2, 4) for n in range(3)]
    known = {"a.1.weight": (Kind.EXPERT, 4), "a.2.weight": (Kind.SCALE, None)}
    assert tally(tensors, known=known) == Tally(
        (
            KindCount(Kind.LINEAR, 1, 8, None),
            KindCount(Kind.EXPERT, 1, 8, 16),
            KindCount(Kind.SCALE, 1, 8, 0),
        ),
        {"U8": (3, 24)},
    )


def test_sums_are_in_the_order_of_bytes() -> None:
    one = tally([tensor("a.weight", "BF16", 2, 2), tensor("b.weight", "F32", 1, 1)])
    two = tally([tensor("norm.weight", "F32", 9), tensor("c.weight", "U8", 2, 2)])
    assert (one + two).kinds == (KindCount(Kind.NORM, 1, 36, 9), KindCount(Kind.LINEAR, 3, 16, None))
    assert list((one + two).dtypes.items()) == [("F32", (2, 40)), ("BF16", (1, 8)), ("U8", (1, 4))]
    assert ((one + two).tensors, (one + two).nbytes, (one + two).parameters) == (4, 52, None)
    assert (one.parameters, Tally().parameters, one + Tally()) == (5, 0, one)


def test_documents_and_repr() -> None:
    counted = tally([tensor("a.weight", "BF16", 2, 2), tensor("norm.weight", "F32", 9)])
    parts = (PartOfFolder("unet", "model", 2, 30, "FP8", counted), PartOfFolder("vae", "other", 1, 7))
    found = Inventory(
        label="folder",
        what="pipeline",
        quantization="none",
        architecture="Flux",
        shards=2,
        tally=counted,
        parts=parts,
        notes=("look",),
        traffic=Traffic(3, 40),
    )
    kinds = [
        {"kind": "norms", "tensors": 1, "bytes": 36, "parameters": 9},
        {"kind": "linear weights", "tensors": 1, "bytes": 8, "parameters": 4},
    ]
    unet = {"name": "unet", "what": "model", "quantization": "FP8", "files": 2, "bytes": 30}
    vae = {"name": "vae", "what": "other", "quantization": None, "files": 1, "bytes": 7}
    assert found.to_json() == {
        **{"path": "folder", "what": "pipeline", "quantization": "none", "format": None, "dialect": None},
        **{"scheme": None, "architecture": "Flux", "shards": 2, "tensors": 2, "data_bytes": 44, "parameters": 13},
        **{"bytes_by_dtype": {"F32": 36, "BF16": 8}, "tensors_by_dtype": {"F32": 1, "BF16": 1}, "kinds": kinds},
        "parts": [
            {**unet, "tensors": 2, "parameters": 13},
            {**vae, "tensors": None, "parameters": None},
        ],
        "notes": ["look"],
        "traffic": {"requests": 3, "bytes": 40},
    }
    assert repr(found) == "<Inventory 'folder': pipeline, 2 tensors, 44 bytes, 2 shards, 13 parameters, none>"
