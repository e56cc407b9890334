"""Every real fixture through the converter, against the other tool's own export of the same weights.

``PAIRS`` is the oracle: what ckptkit makes of one tool's export must be what the other tool wrote, tensor for
tensor. Where two exports cannot be equal, the pair says which tensors differ and why, and everything else must
still be equal. All files are read with the official safetensors library.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import ckptkit
from ckptkit.errors import CkptkitError, ConversionRefused, FormatError
from ckptkit.formats import registry
from tests.damage import CONFIG, REAL, flip, tensors_of
from tests.raw import RawTensor

#: Syncing to disk is another test's business, and takes most of the time.
convert = partial(ckptkit.convert, fsync=False)

FIXTURES = sorted(str(path.parent.relative_to(REAL)) for path in REAL.glob("*/*/config.json"))
TARGETS = (("ct", None), ("quark", None), ("quark", "fp8"))

F2F_CODES = "Quark's file-to-file export divides by another scale than the one it stores"
OBSERVERS = "the two tools' activation observers round one bf16 step apart"
KV_OBSERVERS = "Quark measures before RoPE and gives k and v one value; llm-compressor measures after it"
BLOCK_DTYPE = "Quark widens the block scales that it keeps to F32: the same values in another dtype"


@dataclass(frozen=True)
class Pair:
    """Two exports of the same weights; ``differs`` matches the tensors that cannot be equal, ``why`` says why."""

    architecture: str
    quark: str
    ct: str
    differs: str = "(?!)"
    why: str = ""
    values_equal: bool = False

    def __str__(self) -> str:
        return f"{self.architecture}-{self.quark}"


PAIRS = (
    *(
        Pair(architecture, "quark-ptpc", "llmcompressor-dynamic")
        for architecture in ("llama", "llama-tied", "qwen2", "qwen3", "phi3")
    ),
    Pair("llama", "quark-ptpc-sharded", "llmcompressor-dynamic-sharded"),
    Pair("qwen3_moe", "quark-ptpc-experts", "llmcompressor-dynamic"),
    Pair("mixtral", "quark-ptpc-experts", "llmcompressor-dynamic"),
    Pair("llama", "quark-fp8", "llmcompressor-fp8", r"layers\.1\.self_attn\.[qkv]_proj\.input_scale$", OBSERVERS),
    Pair(
        "llama", "quark-fp8-custom", "llmcompressor-fp8", r"layers\.1\.self_attn\.[qkv]_proj\.input_scale$", OBSERVERS
    ),
    Pair("llama", "quark-ptpc-kv", "llmcompressor-dynamic-kv", r"(k|v)(_proj\.output)?_scale$", KV_OBSERVERS),
    Pair("llama-block-aligned", "quark-block", "llmcompressor-block", r"\.weight_scale$", BLOCK_DTYPE, True),
    Pair("llama-block-ragged", "quark-block", "llmcompressor-block", r"\.weight_scale$", BLOCK_DTYPE, True),
    Pair("llama", "quark-ptpc-file2file", "llmcompressor-dynamic", r"\.weight_scale$", F2F_CODES),
    Pair("llama-tied", "quark-ptpc-file2file", "llmcompressor-dynamic", r"\.weight_scale$", F2F_CODES),
)


def renamed(architecture: str, tensors: dict[str, RawTensor]) -> dict[str, RawTensor]:
    """Mixtral only: transformers 5 calls the block ``mlp``, llm-compressor keeps ``block_sparse_moe``."""
    if architecture != "mixtral":
        return tensors
    return {name.replace(".block_sparse_moe.", ".mlp."): tensor for name, tensor in tensors.items()}


def values(tensor: RawTensor) -> tuple[float, ...]:
    """The values of a scale, BF16 widened exactly."""
    data = tensor.data
    if tensor.dtype == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    return struct.unpack(f"<{len(data) // 4}f", data)


@pytest.mark.parametrize("direction", ["quark-to-ct", "ct-to-quark"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_equals_the_other_tools_own_export(pair: Pair, direction: str, tmp_path: Path) -> None:
    source, oracle, to = (pair.quark, pair.ct, "ct") if direction == "quark-to-ct" else (pair.ct, pair.quark, "quark")
    mode = "fp8" if to == "quark" and pair.quark.endswith("-custom") else None
    convert(REAL / pair.architecture / source, tmp_path / "out", to=to, mode=mode)
    ours = renamed(pair.architecture, tensors_of(tmp_path / "out"))
    theirs = renamed(pair.architecture, tensors_of(REAL / pair.architecture / oracle))
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if ours[name] != theirs[name]}
    excused = {name for name in ours if re.search(pair.differs, name)}
    assert different <= excused, "a tensor differs that has no reason to"
    assert bool(different) == bool(pair.why), f"stated, but not so: {pair.why}"
    for name in different:
        assert ours[name].shape == theirs[name].shape
        if pair.values_equal:
            assert values(ours[name]) == values(theirs[name]), pair.why


def convertible(name: str, to: str, mode: str | None) -> bool:
    return (name, to, mode) not in REFUSED and name not in UNREADABLE


#: What the target cannot hold: (fixture, target, mode) -> the kind of every fault of the refusal.
PER_TENSOR_ONLY = {"scheme"}
REFUSED: dict[tuple[str, str, str | None], set[str]] = {
    **{
        (name, "quark", "fp8"): PER_TENSOR_ONLY
        for name in FIXTURES
        if re.search(r"ptpc|dynamic|block|channel|weight-only", name) and not name.endswith(("-kv-heads", "/bf16"))
    },
    ("llama/llmcompressor-dynamic-kv-heads", "quark", "fp8"): {"scheme", "kv-granularity"},
    ("llama/llmcompressor-dynamic-kv-heads", "quark", None): {"kv-granularity"},
    ("llama/llmcompressor-weight-only", "quark", None): {"inputs"},
    ("llama/llmcompressor-groups", "quark", "fp8"): {"scheme", "mixed-schemes"},
    ("llama/quark-fp8-layers", "quark", "fp8"): {"scheme", "mixed-schemes"},
    ("llama/quark-fp8-attention", "ct", None): {"attention-role"},
    ("qwen3_moe/transformers-block", "quark", None): {"block-size", "requantize"},
    **{("llama/quark-fp8-file2file", to, mode): {"CK621"} for to, mode in TARGETS},
    **{("llama-block-aligned/modelopt-nvfp4", to, mode): {"other-quantization"} for to, mode in TARGETS},
    ("llama-block-aligned/modelopt-mxfp8", "quark", None): {"mx-spread"},
    ("llama-block-aligned/modelopt-mxfp8", "quark", "fp8"): {"mx-spread", "scheme"},
}
#: Fixtures that no conversion reads, with a part of the reason.
UNREADABLE = {
    **{name: "not a quantized checkpoint" for name in FIXTURES if name.endswith("/bf16")},
    "llama/quark-fp8-fake": "export.weight_format is not valid",
}

#: What comes back as other bytes of equal values: ModelOpt leaves out the axes of a single block, and
#: compressed-tensors has no scales in E8M0.
OTHER_BYTES = {
    *(("llama-block-aligned/modelopt-block", to) for to, _ in TARGETS),
    ("llama-block-aligned/transformers-block-ue8m0", "ct"),
}

CASES = [(name, to, mode) for name in FIXTURES for to, mode in TARGETS]


def case_id(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(("name", "to", "mode"), [case for case in CASES if convertible(*case)], ids=case_id)
def test_round_trip(name: str, to: str, mode: str | None, tmp_path: Path) -> None:
    """There and back gives the same tensors; a comparison on the way says that it is the same model."""
    source, there, back = REAL / name, tmp_path / "there", tmp_path / "back"
    checkpoint = ckptkit.open(source)
    plan = convert(source, there, to=to, mode=mode).plan
    comparison = ckptkit.diff(source, there)
    assert comparison.same, comparison.differences
    assert comparison.modules == len(checkpoint.modules)
    convert(there, back, to=checkpoint.format, mode="fp8" if checkpoint.dialect == "fp8 mode" else None)
    if (name, to) not in OTHER_BYTES:
        assert tensors_of(back) == tensors_of(source)
    assert ckptkit.open(back).modules.keys() == checkpoint.modules.keys()
    found = registry.detect(checkpoint.container)
    own = {CONFIG, "model.safetensors.index.json", *(found[1].side_files if found else ())}
    for path in source.iterdir():
        if path.suffix != ".safetensors" and path.name not in own:
            assert (there / path.name).read_bytes() == path.read_bytes()
    if checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None:
        assert any("--kv-cache-dtype" in note for note in plan.notes)


@pytest.mark.parametrize(("name", "to", "mode"), [case for case in CASES if convertible(*case)], ids=case_id)
def test_what_is_written_is_clean(name: str, to: str, mode: str | None, tmp_path: Path) -> None:
    """Our own rules find nothing to fix in what we write; what the source carries along is an error there too."""
    convert(REAL / name, tmp_path / "out", to=to, mode=mode)
    before = {finding.code for finding in ckptkit.validate(REAL / name).findings}
    for finding in ckptkit.validate(tmp_path / "out").findings:
        assert finding.severity.value == "info" or finding.code in before, finding


@pytest.mark.parametrize(("name", "to", "mode"), sorted(REFUSED, key=str), ids=case_id)
def test_refused(name: str, to: str, mode: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused) as refusal:
        convert(REAL / name, tmp_path / "out", to=to, mode=mode)
    assert {fault.kind for fault in refusal.value.faults} == REFUSED[name, to, mode]
    assert list(tmp_path.iterdir()) == [], "a refusal leaves nothing behind"


@pytest.mark.parametrize(("to", "mode"), TARGETS)
@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(name: str, to: str, mode: str | None, tmp_path: Path) -> None:
    with pytest.raises(CkptkitError, match=re.escape(UNREADABLE[name])):
        convert(REAL / name, tmp_path / "out", to=to, mode=mode)
    assert list(tmp_path.iterdir()) == []


def test_refusals_name_what_would_be_held() -> None:
    with pytest.raises(ConversionRefused) as refusal:
        ckptkit.plan(REAL / "llama/llmcompressor-dynamic-kv-heads", to="quark", mode="fp8")
    scheme, granularity = refusal.value.faults
    assert scheme.expected == "per-tensor weights"
    assert scheme.found is not None and "per-channel weights" in scheme.found
    assert (granularity.expected, granularity.found) == ("per-tensor", "per-head")


@pytest.mark.parametrize(
    ("ending", "aspect"),
    [
        ("layers.0.mlp.up_proj.weight", "values, the first at element 0"),
        ("layers.0.mlp.up_proj.weight_scale", "weight scale, the first at index 0"),
        ("layers.1.mlp.up_proj.input_scale", "input scale, the first at index 0"),
        ("layers.0.self_attn.k_proj.output_scale", "k scale, the first at index 0"),
        ("layers.1.self_attn.v_proj.output_scale", "v scale, the first at index 0"),
        ("model.norm.weight", "values, the first at element 0"),
    ],
)
def test_one_flipped_bit_is_found(ending: str, aspect: str, tmp_path: Path) -> None:
    source = REAL / "llama/quark-fp8-kv"
    convert(source, tmp_path / "flipped", to="quark")
    assert ckptkit.diff(source, tmp_path / "flipped").same
    name = flip(tmp_path / "flipped", ending)
    convert(tmp_path / "flipped", tmp_path / "ct", to="ct")
    comparison = ckptkit.diff(source, tmp_path / "ct")
    (difference,) = comparison.differences
    assert not comparison.same
    assert difference.aspect == aspect
    assert name.startswith(difference.subject)


@pytest.mark.parametrize("name", [name for name in FIXTURES if name not in UNREADABLE])
def test_every_tensor_has_one_place(name: str) -> None:
    checkpoint = ckptkit.open(REAL / name)
    found = registry.detect(checkpoint.container)
    assert found is not None and found[0].name == checkpoint.format
    placed = [tensor.name for tensor in checkpoint.plain]
    for module in checkpoint.modules.values():
        placed += [tensor.name for tensor in (module.weight, module.weight_scale, module.input_scale) if tensor]
    placed += [tensor.name for tensor in checkpoint.opaque_tensors()]
    for attention in checkpoint.kv_cache.attention if checkpoint.kv_cache else ():
        placed += sorted({tensor.name for tensor in attention.stored().values()})
    assert sorted(placed) == sorted(tensors_of(REAL / name))
    assert not checkpoint.orphans and not checkpoint.foreign and not checkpoint.stored_only


def test_config_of_the_rest_of_the_model_is_kept(tmp_path: Path) -> None:
    convert(REAL / "llama/quark-ptpc", tmp_path / "out", to="ct")
    folders = (REAL / "llama/quark-ptpc", tmp_path / "out")
    before, after = (json.loads((folder / CONFIG).read_text()) for folder in folders)
    assert list(before) == list(after)
    assert {key for key in before if before[key] != after[key]} == {"quantization_config"}


def test_unreadable_faults_are_format_errors() -> None:
    with pytest.raises(FormatError) as error:
        ckptkit.open(REAL / "llama/quark-fp8-fake")
    (fault,) = error.value.faults
    assert (fault.kind, fault.expected) == ("config-value", "real_quantized")
