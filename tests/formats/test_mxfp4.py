"""``quant_method: mxfp4``: stacks of experts in blocks of four bits, as their own format has them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptkit
from ckptkit.checks.finding import Severity
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.errors import ConversionRefused, FormatError, UsageError
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import PerBlock
from ckptkit.model.numbers import dequantized, numbers
from tests.damage import tensors_of
from tests.operations.test_mx import values
from tests.raw import RawTensor, checkpoint_files, write_files

convert = partial(ckptkit.convert, fsync=False)
HIDDEN, INNER, EXPERTS, HEADS, VOCABULARY = 128, 160, 3, 4, 32
SKIPPED = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
STACKS = {"gate_up_proj": (2 * INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}


def gpt_oss(spread: int = 14, listed: Any = SKIPPED, left_out: str = "-", inner: int = INNER) -> dict[str, bytes]:
    """A layer of GPT-OSS; the scales of a block differ by this many powers of two at most."""
    random = np.random.default_rng(0)

    def plain(*shape: int) -> RawTensor:
        return RawTensor("BF16", shape, (random.integers(0x3C00, 0x3F00, shape, np.uint16)).tobytes())

    def stored(low: int, high: int, *shape: int) -> RawTensor:
        return RawTensor("U8", shape, random.integers(low, high, shape, np.uint8).tobytes())

    layer = "model.layers.0"
    tensors = {"model.embed_tokens.weight": plain(VOCABULARY, HIDDEN), "lm_head.weight": plain(VOCABULARY, HIDDEN)}
    tensors["model.norm.weight"] = plain(HIDDEN)
    tensors |= {f"{layer}.{name}.weight": plain(HIDDEN) for name in ("input_layernorm", "post_attention_layernorm")}
    for name, rows in {"q_proj": 128, "k_proj": 64, "v_proj": 64, "o_proj": HIDDEN}.items():
        tensors |= {f"{layer}.self_attn.{name}.weight": plain(rows, 128)}
        tensors |= {f"{layer}.self_attn.{name}.bias": plain(rows)}
    tensors |= {f"{layer}.self_attn.sinks": plain(HEADS), f"{layer}.mlp.router.weight": plain(EXPERTS, HIDDEN)}
    tensors |= {f"{layer}.mlp.router.bias": plain(EXPERTS)}
    for name, (rows, columns) in {"gate_up_proj": (2 * inner, HIDDEN), "down_proj": (HIDDEN, inner)}.items():
        stack, groups = f"{layer}.mlp.experts.{name}", columns // 32
        tensors[f"{stack}_blocks"] = stored(0, 256, EXPERTS, rows, groups, 16)
        exponents = random.integers(110, 111 + spread, (EXPERTS, rows, groups), np.uint8)
        exponents[:, ::128, ::4], exponents[:, 1::128, ::4] = 110, 110 + spread
        tensors[f"{stack}_scales"] = RawTensor("U8", exponents.shape, exponents.tobytes())
        tensors[f"{stack}_bias"] = plain(EXPERTS, rows)
    config = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "torch_dtype": "bfloat16",
        "hidden_size": HIDDEN,
        "intermediate_size": inner,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "num_hidden_layers": 1,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "vocab_size": VOCABULARY,
        "attention_bias": True,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": listed},
    }
    stored_tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(left_out)}
    return checkpoint_files({"model.safetensors": stored_tensors}, config)


def exact(folder: Path, name: str) -> np.ndarray:
    """The values of a stack [E, N, K], from its stored bytes."""
    found = tensors_of(folder)
    blocks, scales = found[f"{name}_blocks"], found[f"{name}_scales"]
    data = np.frombuffer(blocks.data, np.uint8).reshape(*blocks.shape[:2], -1)
    codes = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:2], -1)
    return values("F4", codes, np.frombuffer(scales.data, np.uint8).reshape(scales.shape))


def test_stacks_are_modules_in_rows_and_all_else_is_plain(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss())
    found = ckptkit.open(folder)
    assert (found.format, found.dialect) == ("mxfp4", "stacked blocks") and not found.modules
    assert {name: module.weight and module.weight.shape for name, module in found.opaque.items()} == {
        f"model.layers.0.mlp.experts.{name}": (EXPERTS, rows, columns // 2) for name, (rows, columns) in STACKS.items()
    }
    assert "lm_head" in found.unquantized and not (found.foreign or found.orphans or found.declared_only)
    report = ckptkit.validate(folder)
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    assert "2 modules MXFP4" in ckptkit.inspect(folder).scheme
    with pytest.raises(UsageError, match="only read"):
        ckptkit.plan(folder, to="gpt-oss")


def test_a_listed_layer_is_not_quantized(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss(listed=[*SKIPPED, "model.layers.0.mlp"]))
    assert not ckptkit.open(folder).opaque
    with pytest.raises(FormatError, match="modules_to_not_convert"):
        ckptkit.open(write_files(tmp_path / "wrong", gpt_oss(listed="lm_head")))


@pytest.mark.parametrize("to", ["bf16", "f32"])
def test_plain_stacks_are_turned_as_their_models_have_them(to: str, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss())
    assert convert(folder, tmp_path / "out", to=to).plan.verdict is Verdict.LOSSLESS
    made, before = tensors_of(tmp_path / "out"), tensors_of(folder)
    for name, (rows, columns) in STACKS.items():
        stack = f"model.layers.0.mlp.experts.{name}"
        assert made[stack].shape == (EXPERTS, columns, rows)
        wanted = exact(folder, stack).swapaxes(1, 2)
        assert np.array_equal(numbers(made[stack].dtype, made[stack].data).reshape(wanted.shape), wanted)
        assert made[f"{stack}_bias"] == before[f"{stack}_bias"] and f"{stack}_scales" not in made
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))


def test_blocks_keep_every_value_as_the_certificate_says(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss())
    plan = convert(folder, tmp_path / "out", to="fp8").plan
    assert plan.verdict is Verdict.LOSSLESS
    assert any("2 MXFP4 modules" in note and "scales were read to tell, and no values" in note for note in plan.notes)
    assert {note.partition(" loads no FP8 experts of this class")[0] for note in plan.notes} >= {
        "vLLM 0.32.0",
        "transformers 5.16.1",
    }
    after, made = ckptkit.open(tmp_path / "out"), tensors_of(tmp_path / "out")
    for name in STACKS:
        module = after.modules[f"model.layers.0.mlp.experts.{name}"]
        assert module.weight_scale is not None
        wanted = exact(folder, module.name)
        codes = numbers("F8_E4M3", made[module.weight.name].data).reshape(wanted.shape)
        grids = numbers("F32", made[module.weight_scale.name].data).reshape(EXPERTS, -1)
        for expert in range(EXPERTS):
            assert np.array_equal(dequantized(codes[expert], grids[expert], PerBlock(128, 128)), wanted[expert])
    report = ckptkit.validate(tmp_path / "out", matrix=True)
    assert {finding.severity for finding in report.findings} <= {Severity.INFO}
    assert report.matrix is not None
    assert {row.engine: row.verdict for row in report.matrix.rows}["vllm"] == "refuses"


def test_a_plan_of_rows_is_carried_out_on_the_files_that_have_blocks(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss())
    plan = Plan.from_json(ckptkit.plan(folder, to="bf16").to_json())
    ckptkit.execute(plan, folder, tmp_path / "planned", fsync=False)
    convert(folder, tmp_path / "out", to="bf16")
    assert tensors_of(tmp_path / "planned") == tensors_of(tmp_path / "out")


def test_blocks_that_spread_further_need_leave(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss(15))
    with pytest.raises(ConversionRefused, match="would be rounded to FP8"):
        ckptkit.plan(folder, to="fp8")
    assert convert(folder, tmp_path / "out", to="fp8", allow_lossy=True).plan.verdict is Verdict.LOSSY


def test_a_stack_without_scales_is_named(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "source", gpt_oss(left_out="down_proj_scales"))
    module = ckptkit.open(folder).opaque["model.layers.0.mlp.experts.down_proj"]
    assert module.parts.keys() == {Part.PACKED}
    assert [finding.code for finding in ckptkit.validate(folder).errors] == ["CK209"]
    with pytest.raises(ConversionRefused):
        ckptkit.plan(folder, to="bf16")
