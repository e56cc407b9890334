"""Real checkpoints through the golden check: sources and conversions agree bit for bit, damage shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckptkit.api as api
from ckptkit.errors import UsageError
from ckptkit.kernels.golden import checkpoint
from ckptkit.kernels.golden.checkpoint import LayerOutcome, choose_modules, compare, run_checkpoint

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"


LAYER = "model.layers.0.self_attn.q_proj"


def run(path: Path, *patterns: str) -> list[LayerOutcome]:
    return run_checkpoint(api.open(path), "cpu", patterns)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("llama/quark-ptpc-kv", "ct"),
        ("llama/quark-fp8-kv", "ct"),
        ("llama/llmcompressor-fp8-kv", "quark"),
        ("llama-block-ragged/llmcompressor-block", "quark"),
    ],
)
def test_a_source_and_its_conversion_give_the_same_bits(source: str, target: str, tmp_path: Path) -> None:
    api.convert(REAL / source, tmp_path / "out", to=target)
    left, right = run(REAL / source), run(tmp_path / "out")
    assert all(outcome.passed and outcome.skipped is None for outcome in (*left, *right))
    agreed = compare(left, right)
    assert agreed.differences == () and agreed.same == len(left)
    assert {outcome.name for outcome in left if "KV" in outcome.name} == (
        {f"model.layers.{layer}.self_attn KV cache" for layer in (0, 1)} if "-kv" in source else set()
    )


def test_two_tools_exports_of_one_model_give_the_same_bits() -> None:
    quark, ct = run(REAL / "llama/quark-ptpc"), run(REAL / "llama/llmcompressor-dynamic")
    assert compare(quark, ct).line == "5 layers give the same bits"


def test_kv_scales_per_head_run() -> None:
    outcomes = run(REAL / "llama/llmcompressor-dynamic-kv-heads", LAYER)
    assert [o.passed for o in outcomes if "KV" in o.name] == [True, True]


def test_weight_only_layers_are_skipped_with_a_reason() -> None:
    outcomes = run(REAL / "llama/llmcompressor-weight-only")
    assert outcomes and all("not quantized" in str(outcome.skipped) for outcome in outcomes)
    assert outcomes[0].to_json()["verdict"] == "skip"


def damaged(tmp_path: Path, source: str, name: str, change: object) -> Path:
    target = tmp_path / "damaged"
    shutil.copytree(REAL / source, target)
    tensors = load_file(target / "model.safetensors")
    tensors[name] = change(tensors[name])  # type: ignore[operator]
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def with_code(tensor: torch.Tensor, code: int) -> torch.Tensor:
    raw = tensor.view(torch.uint8).clone()
    raw[1, 2] = code
    return raw.view(torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (
            f"{LAYER}.weight_scale",
            lambda scale: scale * torch.cat([torch.ones(9), torch.tensor([1.01]), torch.ones(118)]),
        ),
        (f"{LAYER}.weight_scale", lambda scale: scale.roll(1)),
        (f"{LAYER}.weight", lambda weight: with_code(weight, 0x7E)),
        (f"{LAYER}.weight", lambda weight: weight.view(torch.uint8).roll(1, 1).view(weight.dtype)),
    ],
    ids=["one scale", "scales out of order", "a saturated weight", "columns out of order"],
)
def test_damage_is_a_difference_in_bits(name: str, change: object, tmp_path: Path) -> None:
    path = damaged(tmp_path, "llama/quark-ptpc", name, change)
    found = compare(run(REAL / "llama/quark-ptpc", LAYER), run(path, LAYER)).differences
    assert len(found) == 1 and found[0].startswith(f"{LAYER}: outputs differ")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_nan_needs_no_comparison(tmp_path: Path) -> None:
    scale = f"{LAYER}.weight_scale"
    path = damaged(
        tmp_path, "llama/quark-ptpc", scale, lambda tensor: tensor.float().fill_(float("nan")).to(tensor.dtype)
    )
    (outcome,) = run(path, LAYER)
    assert "NaN" in str(outcome.reason)


def test_a_bad_kv_scale_fails(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.k_proj.output_scale"
    path = damaged(tmp_path, "llama/quark-ptpc-kv", name, lambda scale: scale * 0)
    outcome = run(path, LAYER)[1]
    assert outcome.reason == "k_scale is not finite and positive"


def test_a_missing_scale_fails(tmp_path: Path) -> None:
    target = tmp_path / "missing"
    shutil.copytree(REAL / "llama/quark-ptpc", target)
    tensors = load_file(target / "model.safetensors")
    del tensors[f"{LAYER}.weight_scale"]
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (outcome,) = run(target, LAYER)
    assert outcome.reason == "a scale is missing from the files"


def test_modules_can_be_chosen() -> None:
    opened = api.open(REAL / "llama/quark-ptpc")
    assert len(choose_modules(opened)) == 5  # one of each shape
    assert [m.name for m in choose_modules(opened, ["*.1.*.q_proj"])] == ["model.layers.1.self_attn.q_proj"]
    assert len(choose_modules(opened, ["*"])) == 14
    with pytest.raises(UsageError, match="no FP8 module"):
        choose_modules(opened, ["nothing"])


def test_a_layer_in_one_of_two_checkpoints_only() -> None:
    one = LayerOutcome("a", "", (), None, "1")
    assert compare([one], []).differences == ("a was run in only one of the two",)


def test_what_is_skipped_in_both_is_not_counted() -> None:
    ran, skipped = LayerOutcome("a", "", (), None, "1"), LayerOutcome("b", "", (), None, skipped="weight only")
    assert compare([ran, skipped], [ran, skipped]).same == 1


def test_large_layers_are_reduced_in_the_interpreter() -> None:
    opened = api.open(REAL / "llama-block-ragged/llmcompressor-block")
    module = choose_modules(opened)[0]
    scaling = checkpoint.Scaling.of(module.scheme)
    full = checkpoint.load(opened, module, scaling, "cpu", reduced=False)
    assert full.weight.shape == module.weight.shape
