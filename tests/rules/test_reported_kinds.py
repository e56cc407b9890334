"""The kinds of faults that people report, each in several formats and architectures: the finding, and the verdict.

A real export is changed the way the report describes. What engines do was seen with them, or read in their sources;
``ckptkit.engines`` says which.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.errors import ConversionRefused
from ckptkit.views.matrix import build_matrix
from tests.damage import MutableCheckpoint, load
from tests.raw import RawTensor
from tests.rules.case import context_of


def verdicts(checkpoint: MutableCheckpoint) -> dict[str, str]:
    """Engine -> what it makes of a checkpoint."""
    context = context_of(checkpoint)
    matrix = build_matrix(context, runner.run(context, Level.SCALES))
    return {row.engine: row.verdict for row in matrix.rows}


def errors_and_warnings(checkpoint: MutableCheckpoint) -> set[str]:
    return {f.code for f in runner.run(context_of(checkpoint), Level.SCALES).findings if f.severity.value != "info"}


# An FP8 embedding: no engine has one.


@pytest.mark.parametrize(
    ("export", "shape"),
    [
        ("llama/llmcompressor-dynamic", (32, 1)),
        ("qwen3/llmcompressor-dynamic", (32, 1)),
        ("llama/llmcompressor-fp8", (1,)),
        ("llama/llmcompressor-dynamic-sharded", (32, 1)),
        ("qwen3_moe/llmcompressor-dynamic", (32, 1)),
        ("llama/quark-ptpc", (32,)),
    ],
)
def test_a_quantized_embedding(export: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    checkpoint = load(export)
    assert "CK634" not in errors_and_warnings(checkpoint)
    (name,) = checkpoint.names(r"model\.embed_tokens\.weight")
    rows, columns = checkpoint.get(name).shape
    count = rows if shape[0] > 1 else 1
    checkpoint.change(re.escape(name), lambda t: RawTensor("F8_E4M3", t.shape, b"\x30" * (rows * columns)))
    checkpoint.put("model.embed_tokens.weight_scale", "BF16", (count, *shape[1:]), b"\x80\x3a" * count)
    if export.endswith("-fp8"):
        checkpoint.put("model.embed_tokens.input_scale", "BF16", (1,), b"\x80\x3c")
    if checkpoint.index is not None:
        checkpoint.true_index()
    assert "CK634" in errors_and_warnings(checkpoint)
    found = verdicts(checkpoint)
    assert found["vllm"] == "refuses"
    if "llmcompressor" in export:
        assert found["transformers"] == "silently wrong"
    source = checkpoint.write(tmp_path / "source")
    for target in ("fp8", "modelopt"):
        with pytest.raises(ConversionRefused, match="do not load a quantized embedding"):
            ckptkit.plan(source, to=target)


# Weights that were saved uncompressed beside their scales, under any config: one error says so.


@pytest.mark.parametrize(
    "export",
    [
        "llama/llmcompressor-dynamic",
        "llama/llmcompressor-fp8-kv",
        "llama/llmcompressor-dynamic-sharded",
        "llama-block-aligned/llmcompressor-block",
        "qwen3_moe/llmcompressor-dynamic",
        "llama/quark-ptpc",
        "llama/quark-fp8-custom",
        "llama/modelopt-fp8",
        "llama/modelopt-channel",
    ],
)
def test_saved_uncompressed(export: str, tmp_path: Path) -> None:
    checkpoint = load(export)
    known = errors_and_warnings(checkpoint)
    for shard in checkpoint.shards.values():
        for name, tensor in shard.items():
            if tensor.dtype == "F8_E4M3":
                shard[name] = RawTensor("BF16", tensor.shape, b"\x80\x3c" * len(tensor.data))
    if checkpoint.index is not None:
        checkpoint.true_index()
    assert errors_and_warnings(checkpoint) - known == {"CK602"}
    source = checkpoint.write(tmp_path / "source")
    (error,) = ckptkit.validate(source).errors
    assert "saved uncompressed beside their scales" in error.message
    for target in ("ct", "quark", "modelopt", "bf16"):
        with pytest.raises(ConversionRefused, match="saved uncompressed"):
            ckptkit.plan(source, to=target)


# A mixture of experts with scales of whole tensors and inputs by token: vLLM has no such experts.


def _per_token(checkpoint: MutableCheckpoint) -> None:
    for shard in checkpoint.shards.values():
        for name, tensor in shard.items():
            if name.endswith("weight_scale"):
                shard[name] = RawTensor("BF16", (1,), tensor.data[:2])
    checkpoint.group["weights"]["strategy"] = "tensor"


@pytest.mark.parametrize("export", ["qwen3_moe/llmcompressor-dynamic", "mixtral/llmcompressor-dynamic"])
def test_experts_with_scales_of_tensors_and_inputs_by_token(export: str) -> None:
    checkpoint = load(export)
    _per_token(checkpoint)
    assert verdicts(checkpoint)["vllm"] == "refuses"


@pytest.mark.parametrize("export", ["llama/llmcompressor-dynamic", "qwen2/llmcompressor-dynamic"])
def test_linear_layers_with_scales_of_tensors_and_inputs_by_token(export: str) -> None:
    checkpoint = load(export)
    _per_token(checkpoint)
    assert verdicts(checkpoint)["vllm"] == "loads"


# Weight-only FP8: compressed-tensors' runs, Quark's stops vLLM and SGLang.


@pytest.mark.parametrize(
    "export", ["llama/quark-ptpc", "llama/quark-ptpc-sharded", "qwen3/quark-ptpc", "phi3/quark-ptpc"]
)
def test_quark_without_quantized_inputs(export: str) -> None:
    checkpoint = load(export)
    checkpoint.block["global_quant_config"]["input_tensors"] = None
    for spec in (checkpoint.block["layer_quant_config"] or {}).values():
        spec["input_tensors"] = None
    found = verdicts(checkpoint)
    assert (found["vllm"], found["sglang"]) == ("refuses", "refuses")


def test_compressed_tensors_without_quantized_inputs() -> None:
    assert verdicts(load("llama/llmcompressor-weight-only"))["vllm"] == "loads"


# An entry of a skip list that is dead is a note, and decides no verdict.


@pytest.mark.parametrize(
    ("export", "key", "entry"),
    [
        ("llama-block-aligned/llmcompressor-block", "ignore", "model.layers.0.mlp.gate"),
        ("llama/llmcompressor-dynamic", "ignore", "re:.*visual.*"),
        ("llama/quark-ptpc", "exclude", "model.layers.7.mlp.down_proj"),
        ("llama/modelopt-fp8", "ignore", "model.mtp"),
    ],
)
def test_a_dead_entry_of_a_skip_list(export: str, key: str, entry: str) -> None:
    checkpoint = load(export)
    checkpoint.files.pop("hf_quant_config.json", None)  # which would say otherwise
    known, before = errors_and_warnings(checkpoint), verdicts(checkpoint)
    checkpoint.block[key].append(entry)
    codes = {finding.code for finding in runner.run(context_of(checkpoint), Level.SCALES).findings}
    assert "CK607" in codes
    assert errors_and_warnings(checkpoint) == known and verdicts(checkpoint) == before


# ``quantization_status: frozen``: transformers alone looks at it.


@pytest.mark.parametrize(
    "export",
    [
        "llama/llmcompressor-fp8",
        "llama/llmcompressor-dynamic",
        "qwen3_moe/llmcompressor-dynamic",
        "llama-tied/llmcompressor-dynamic",
    ],
)
@pytest.mark.parametrize("status", ["frozen", None])
def test_a_status_that_is_not_compressed(export: str, status: str | None) -> None:
    checkpoint = load(export)
    before = verdicts(checkpoint)
    if status is None:
        del checkpoint.block["quantization_status"]
    else:
        checkpoint.block["quantization_status"] = status
    after = verdicts(checkpoint)
    assert after["transformers"] == "silently wrong"
    assert {name: verdict for name, verdict in after.items() if name != "transformers"} == {
        name: verdict for name, verdict in before.items() if name != "transformers"
    }


# ModelOpt's export that only the file beside config.json describes.


@pytest.mark.parametrize(
    "export", ["llama/modelopt-fp8", "llama/modelopt-fp8-kv", "llama/modelopt-channel", "qwen3_moe/modelopt-fp8"]
)
def test_only_the_side_file_describes_it(export: str, tmp_path: Path) -> None:
    whole = load(export)
    checkpoint = load(export)
    del checkpoint.config["quantization_config"]
    assert errors_and_warnings(checkpoint) == errors_and_warnings(whole)
    found, before = verdicts(checkpoint), verdicts(whole)
    assert found["vllm"] == before["vllm"] != "not judged"
    summary = ckptkit.inspect(checkpoint.write(tmp_path / "source"))
    assert summary.quantization == ckptkit.inspect(whole.write(tmp_path / "whole")).quantization
    assert ckptkit.plan(tmp_path / "source", to="ct").cost == ckptkit.plan(tmp_path / "whole", to="ct").cost


# A sound config of another storage is not ours to call wrong.


@pytest.mark.parametrize("dtype", ["int8", "int4", "uint4", "mx6"])
def test_quark_of_another_storage(dtype: str, tmp_path: Path) -> None:
    checkpoint = load("llama/quark-ptpc")
    checkpoint.block["global_quant_config"]["weight"]["dtype"] = dtype
    checkpoint.change(r".*layers.*_proj\.weight", lambda tensor: tensor._replace(dtype="I8"))
    found = ckptkit.validate(checkpoint.write(tmp_path / "source")).findings
    assert {(finding.code, finding.severity.value) for finding in found} == {("CK600", "warning")}
    assert "not supported" in found[0].message and "FP8" in found[0].message


# The vision tower was quantized by accident: worth a warning, and no engine stops at it.


@pytest.mark.parametrize("export", ["qwen2_5_vl/llmcompressor-dynamic", "qwen2_5_vl/llmcompressor-fp8-kv"])
def test_a_tower_quantized_by_accident(export: str) -> None:
    checkpoint = load(export)
    per_row = export.endswith("dynamic")
    towers = [name for name in checkpoint.names(r".*visual\.blocks.*\.weight") if len(checkpoint.get(name).shape) == 2]
    listed = {name.removesuffix(".weight") for name in towers}
    listed |= {name.removeprefix("model.") for name in listed}
    checkpoint.block["ignore"] = [entry for entry in checkpoint.block["ignore"] if entry not in listed]
    for name in towers:
        rows, columns = checkpoint.get(name).shape
        count = rows if per_row else 1
        checkpoint.put(name, "F8_E4M3", (rows, columns), b"\x30" * (rows * columns))
        checkpoint.put(f"{name}_scale", "BF16", (count, 1) if per_row else (1,), b"\x80\x3a" * count)
        if not per_row:
            checkpoint.put(name.replace("weight", "input_scale"), "BF16", (1,), b"\x80\x3c")
    found = [
        finding for finding in runner.run(context_of(checkpoint), Level.SCALES).findings if finding.code == "CK612"
    ]
    assert [finding.severity.value for finding in found] == ["warning"]
    assert verdicts(checkpoint)["vllm"] == "loads"


# Scales under the names that transformers gives them, which it needs and vLLM maps.


@pytest.mark.parametrize("export", ["llama/llmcompressor-fp8", "llama/modelopt-fp8", "llama/quark-fp8"])
def test_the_names_of_transformers(export: str, tmp_path: Path) -> None:
    ckptkit.convert(load(export).write(tmp_path / "source"), tmp_path / "out", to="fp8", mode="transformers")
    assert any(name.endswith(".activation_scale") for name in ckptkit.open(tmp_path / "out").container.tensors)
    report = ckptkit.validate(tmp_path / "out")
    assert not {"CK203", "CK204", "CK601"} & {finding.code for finding in report.findings}
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    ckptkit.validate(tmp_path / "out", fix=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_fix_lengthens_the_skip_list_that_is_there(tmp_path: Path) -> None:
    """One more list, of the new entry alone, would hide the old one from vLLM."""
    checkpoint = load("llama-block-aligned/transformers-block")
    checkpoint.block["modules_to_not_convert"] = ["lm_head"]
    (name,) = checkpoint.names(r".*layers\.0\.self_attn\.o_proj\.weight")
    rows, columns = checkpoint.get(name).shape
    checkpoint.put(name, "BF16", (rows, columns), b"\x80\x3c" * (rows * columns))
    checkpoint.drop(re.escape(f"{name}_scale_inv"))
    folder = checkpoint.write(tmp_path / "source")
    finding = next(f for f in ckptkit.validate(folder).findings if f.code == "CK605" and "o_proj" in str(f.tensor))
    assert finding.expected == "model.layers.0.self_attn.o_proj in modules_to_not_convert"
    ckptkit.validate(folder, fix=True)
    block = ckptkit.open(folder).raw
    assert block["modules_to_not_convert"] == ["lm_head", "model.layers.0.self_attn.o_proj"]
    assert "ignored_layers" not in block and "CK605" not in {f.code for f in ckptkit.validate(folder).findings}
