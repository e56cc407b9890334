"""Weights of other sets beside a model, and folders that are no model: each is what it is, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import Verdict
from ckptkit.errors import CkptkitError
from tests.damage import REAL, load, read_shard
from tests.formats import others
from tests.formats.fp8_files import convert
from tests.raw import INDEX, shard_bytes, write_files

STATIC = "llama/llmcompressor-fp8"
ADAPTER, NATIVE = "adapter_model.safetensors", "consolidated.safetensors"


def codes_of(folder: Path) -> set[str]:
    return {finding.code for finding in ckptkit.validate(folder).findings}


def beside(source: Path, folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return write_files(folder, files)


@pytest.fixture
def ministral(tmp_path: Path) -> Path:
    """As Mistral publishes: transformers' names in one file, and the same model in its own format beside it."""
    convert(REAL / STATIC, tmp_path / "hf", to="fp8", mode="transformers")
    return beside(tmp_path / "hf", tmp_path / "source", others.MISTRAL_FP8)


def test_mistrals_own_format_beside_transformers(ministral: Path, tmp_path: Path) -> None:
    found, alone = ckptkit.inspect(ministral), ckptkit.inspect(tmp_path / "hf")
    assert (found.parameters, found.tensors, found.shards) == (alone.parameters, alone.tensors, 1)
    assert found.quantization == alone.quantization and found.what == "model"
    assert found.notes == ("beside it lies params.json, consolidated.safetensors",)
    (finding,) = [finding for finding in ckptkit.validate(ministral).findings if finding.code == "CK108"]
    assert finding.file == NATIVE and not ckptkit.validate(ministral).errors
    assert codes_of(ministral) == codes_of(tmp_path / "hf") | {"CK108"}


@pytest.mark.parametrize("to", ["ct", "quark", "modelopt"])
def test_it_stays_as_it_is_in_a_conversion(to: str, ministral: Path, tmp_path: Path) -> None:
    plan = convert(ministral, tmp_path / "out", to=to).plan
    assert plan.verdict is Verdict.LOSSLESS and any(NATIVE in note and "no part" in note for note in plan.notes)
    assert (tmp_path / "out" / NATIVE).read_bytes() == (ministral / NATIVE).read_bytes()
    assert not (tmp_path / "out" / INDEX).exists()
    convert(tmp_path / "out", tmp_path / "back", to="fp8", mode="transformers")
    names = {path.name for path in ministral.iterdir()}
    assert {path.name for path in (tmp_path / "back").iterdir()} == names
    for name in names - {"config.json"}:
        assert (tmp_path / "back" / name).read_bytes() == (ministral / name).read_bytes()


def test_an_adapter_beside_a_model(tmp_path: Path) -> None:
    source = beside(REAL / "llama/bf16", tmp_path / "source", others.LORA)
    found = ckptkit.inspect(source)
    alone = ckptkit.inspect(REAL / "llama/bf16")
    assert found.parameters == alone.parameters and found.what == alone.what == "model" and alone.notes == ()
    assert codes_of(source) == {"CK108", "CK600"}
    table = ckptkit.validate(source, matrix=True).matrix
    assert table is not None and next(row.verdict for row in table.rows if row.engine == "vllm") == "refuses"
    convert(source, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC")
    assert (tmp_path / "out" / ADAPTER).read_bytes() == others.LORA[ADAPTER]
    assert not [name for name in read_shard(tmp_path / "out" / "model.safetensors") if "lora" in name]


COMPONENT = {
    "config.json": others.document(_class_name="FluxTransformer2DModel"),
    "diffusion_pytorch_model.safetensors": shard_bytes({"a.proj.weight": others.zeros("BF16", 32, 32)}),
}


def sharded(stem: str, own: dict[str, Any]) -> dict[str, bytes]:
    """Two shards, and an index under the name that its tool gives it."""
    shards = {
        f"{stem}-0000{number}-of-00002.safetensors": {f"layers.{number}.weight": others.zeros("BF16", 4, 4)}
        for number in (1, 2)
    }
    index = {"metadata": {}, "weight_map": {tensor: name for name, held in shards.items() for tensor in held}}
    files = {name: shard_bytes(held) for name, held in shards.items()}
    return {**files, f"{stem}.safetensors.index.json": json.dumps(index).encode(), **own}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (others.LORA, "LoRA adapter of rank 8 for org/base"),
        (others.MISTRAL, "model in Mistral's own format"),
        (COMPONENT, "part of a diffusers pipeline, FluxTransformer2DModel"),
        (
            sharded("diffusion_pytorch_model", {"config.json": COMPONENT["config.json"]}),
            "part of a diffusers pipeline, FluxTransformer2DModel",
        ),
        (sharded("consolidated", {"params.json": b"{}"}), "model in Mistral's own format"),
    ],
)
def test_what_is_no_model_of_an_engine_is_not_quantized(files: dict[str, bytes], what: str, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", files)
    assert ckptkit.inspect(source).what == what and "beside" not in "".join(ckptkit.inspect(source).notes)
    assert codes_of(source) <= {"CK600", "CK111"}
    with pytest.raises(CkptkitError) as refused:
        ckptkit.plan(source, to="ct", scheme="FP8_DYNAMIC")
    assert what in (refused.value.help or "") and "nothing" in (refused.value.help or "")


def test_several_shards_without_any_index_are_still_told(tmp_path: Path) -> None:
    files = sharded("model", {"config.json": json.dumps(load(STATIC).config).encode()})
    del files[INDEX]
    assert "CK109" in codes_of(write_files(tmp_path / "source", files))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quant_method 'gptq' (GPTQ, 4-bit, which is not FP8)"),
        ({"quant_method": "torchao", "quant_type": "float8dq"}, "quant_method 'torchao' (TorchAO)"),
        ({"quant_method": "quanto", "weights": "float8"}, "quant_method 'quanto' (Quanto)"),
        ({"quant_method": "w8a8_fp8"}, "quant_method 'w8a8_fp8' (FP8 in SGLang's own layout, 8-bit)"),
        ({"quant_method": "nvfp4"}, "quant_method 'nvfp4' (NVFP4, which is not FP8)"),
        ({"quant_method": "my_method"}, "quant_method 'my_method'"),
    ],
)
def test_what_may_be_fp8_is_not_called_anything_else(block: dict[str, Any], words: str, tmp_path: Path) -> None:
    weight = {f"{others.LAYER}.weight": others.zeros("F16", 64, 32)}
    source = write_files(tmp_path / "source", others.model(block, weight))
    assert ckptkit.inspect(source).quantization == words


def test_names_alone_are_said_in_a_sentence(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", others.METHODS["gptq undeclared"][0])
    (finding,) = [finding for finding in ckptkit.validate(source).findings if finding.code == "CK600"]
    assert finding.message.startswith("not supported: GPTQ, by its tensors' names: no config declares it")


@pytest.mark.parametrize("value", [[1], "fp8", 8, True])
def test_a_config_that_is_no_object_is_not_overlooked(value: Any, tmp_path: Path) -> None:
    draft = load(STATIC)
    draft.config["quantization_config"] = value
    source = draft.write(tmp_path / "source")
    (finding,) = ckptkit.validate(source).errors
    assert (finding.code, finding.message) == ("CK600", "quantization_config is not valid")
    with pytest.raises(CkptkitError):
        ckptkit.plan(source, to="quark")
