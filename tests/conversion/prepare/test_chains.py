"""Two changes at once: what is cut out of stored tensors is stored too; what is computed first is refused in words."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ckptkit
from ckptkit.conversion.plan import Plan
from ckptkit.errors import ConversionRefused, UsageError
from ckptkit.model.numbers import numbers
from tests.conftest import WriteCheckpoint
from tests.conversion.prepare.test_forms import fnuz, weights
from tests.damage import CONFIG, REAL, SHARD, load, tensors_of
from tests.formats.test_microscaling import SOURCES
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)
EXPERTS, ROWS, COLUMNS = 3, 64, 32
OWNER = "model.layers.0.mlp.experts"


def stacks(write_checkpoint: WriteCheckpoint, architecture: str = "Qwen3MoeForCausalLM", inner: int = ROWS) -> Path:
    """A layer of plain experts as transformers stacks them: gate and up [E, 2 I, K], down [E, K, I]."""
    random = np.random.default_rng(7)

    def plain(*shape: int) -> RawTensor:
        return RawTensor("BF16", shape, random.integers(0x3C00, 0x3F00, shape, np.uint16).astype("<u2").tobytes())

    tensors = {
        "model.layers.0.self_attn.o_proj.weight": plain(COLUMNS, COLUMNS),
        f"{OWNER}.gate_up_proj": plain(EXPERTS, 2 * inner, COLUMNS),
        f"{OWNER}.down_proj": plain(EXPERTS, COLUMNS, inner),
    }
    config = {"hidden_size": COLUMNS, "num_hidden_layers": 1, "architectures": [architecture]}
    return write_checkpoint({SHARD: tensors}, config, f"stacks-{architecture}-{inner}")


@pytest.mark.parametrize("scheme", ["FP8_DYNAMIC", "FP8_BLOCK"])
def test_what_is_cut_is_quantized_as_if_it_had_been_stored_so(scheme: str, tmp_path: Path) -> None:
    source = REAL / "phi3/bf16"
    split = convert(source, tmp_path / "split", to="bf16", fused="split")
    assert split.plan.cost.computed == 0 and "model.layers.0.self_attn.k_proj.weight" in tensors_of(tmp_path / "split")
    choices = {"to": "ct", "scheme": scheme, "modules": "*.mlp.down_proj" if scheme == "FP8_BLOCK" else None}
    convert(tmp_path / "split", tmp_path / "two", **choices)
    convert(source, tmp_path / "one", fused="split", **choices)
    assert tensors_of(tmp_path / "one") == tensors_of(tmp_path / "two")


def test_plain_experts_are_cut_and_quantized_at_once(tmp_path: Path, write_checkpoint: WriteCheckpoint) -> None:
    source = stacks(write_checkpoint)
    before = tensors_of(source)
    with pytest.raises(ConversionRefused) as refused:
        ckptkit.plan(source, to="ct", scheme="FP8_DYNAMIC")
    assert "--experts split" in str(refused.value.faults[0].help)
    made = convert(source, tmp_path / "plain", to="bf16", experts="split").plan
    assert made.cost.computed == 0 and made.verdict.value == "lossless"
    found = tensors_of(tmp_path / "plain")
    whole = np.frombuffer(before[f"{OWNER}.gate_up_proj"].data, "<u2").reshape(EXPERTS, 2, ROWS, COLUMNS)
    for expert in range(EXPERTS):
        for at, part in enumerate(("gate_proj", "up_proj")):
            assert found[f"{OWNER}.{expert}.{part}.weight"].data == whole[expert, at].tobytes()
    plan = convert(source, tmp_path / "one", to="ct", scheme="FP8_DYNAMIC", experts="split").plan
    convert(tmp_path / "plain", tmp_path / "two", to="ct", scheme="FP8_DYNAMIC")
    assert tensors_of(tmp_path / "one") == tensors_of(tmp_path / "two")
    assert len(ckptkit.open(tmp_path / "one").modules) == 1 + 3 * EXPERTS
    # The same from a plan on paper, and not on files that are no longer those.
    ckptkit.execute(Plan.from_json(plan.to_json()), source, tmp_path / "planned", fsync=False)
    assert tensors_of(tmp_path / "planned") == tensors_of(tmp_path / "one")
    other = stacks(write_checkpoint, inner=ROWS // 2)
    document = plan.to_json()
    document["source_files"] = {path.name: path.stat().st_size for path in other.iterdir()}
    with pytest.raises(ConversionRefused, match="no such tensor any more"):
        ckptkit.execute(Plan.from_json(document), other, tmp_path / "moved", fsync=False)


@pytest.mark.parametrize(
    ("architecture", "inner", "words"),
    [
        ("Llama4ForCausalLM", COLUMNS // 2, "inputs along the rows"),  # square: the class decides
        ("GptOssForCausalLM", ROWS, "inputs along the rows"),
    ],
)
def test_experts_that_are_no_rows_are_not_cut(
    architecture: str, inner: int, words: str, write_checkpoint: WriteCheckpoint
) -> None:
    source = stacks(write_checkpoint, architecture, inner)
    for choices in ({"to": "bf16", "experts": "split"}, {"to": "fp8", "scheme": "fp8_per_block"}):
        with pytest.raises(ConversionRefused, match=words):
            ckptkit.plan(source, **choices)


def test_rows_in_turn_and_biases_are_not_cut(tmp_path: Path) -> None:
    from tests.formats.test_mxfp4 import gpt_oss
    from tests.raw import write_files

    convert(write_files(tmp_path / "source", gpt_oss()), tmp_path / "fp8", to="fp8")
    with pytest.raises(ConversionRefused, match="come in turn") as error:
        ckptkit.plan(tmp_path / "fp8", to="fp8", experts="split")
    assert any("have biases" in fault.message for fault in error.value.faults)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("llama/quark-ptpc", {"to": "fp8", "mode": "tensor"}),
        ("llama/quark-fp8", {"to": "ct", "scheme": "FP8_DYNAMIC"}),
        ("phi3/quark-ptpc", {"to": "ct", "scheme": "FP8_DYNAMIC", "fused": "split"}),
    ],
)
def test_other_scales_of_another_encoding_are_for_its_values(
    name: str, choices: dict[str, str], tmp_path: Path
) -> None:
    source = fnuz(name).write(tmp_path / "source")
    convert(source, tmp_path / "out", allow_lossy=True, **choices)
    before, after = weights(source), weights(tmp_path / "out")
    for key in before.keys() & after.keys():
        off = np.abs(before[key] - after[key]) / np.abs(before[key]).max()
        assert off.max() <= 2.0**-4, key
    assert before.keys() & after.keys() and not ckptkit.validate(tmp_path / "out").errors


def test_static_inputs_of_another_encoding_are_halved_beside_new_scales_too(tmp_path: Path) -> None:
    draft = fnuz("llama/llmcompressor-fp8")
    draft.group["weights"] = {**draft.group["weights"], "strategy": "channel"}
    rows = {name: draft.get(name).shape[0] for name in draft.names(r".*_proj\.weight")}
    for name, count in rows.items():
        draft.change(f"{name}_scale", lambda t, n=count: RawTensor(t.dtype, (n, 1), t.data[:2] * n))  # type: ignore[misc]
    source = draft.write(tmp_path / "source")
    convert(source, tmp_path / "out", to="ct", scheme="FP8", allow_lossy=True)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    name = "model.layers.0.mlp.up_proj.input_scale"
    assert numbers("BF16", before[name].data)[0] == 2 * numbers("BF16", after[name].data)[0]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "choices", [{"to": "quark", "scheme": "ptpc_fp8"}, {"to": "fp8", "mode": "tensor", "scheme": "fp8_per_tensor"}]
)
def test_scales_for_what_is_only_made_are_refused_with_the_way_round(
    source: str, choices: dict[str, str], tmp_path: Path
) -> None:
    """Packed elements are no FP8 codes: one of 8 bits may look like one."""
    folder = SOURCES[source](3).write(tmp_path / "source")
    if (source, choices["to"]) != ("quark", "quark"):
        with pytest.raises(ConversionRefused, match="takes stored weights, and mx-to-blocks makes those of") as error:
            ckptkit.plan(folder, allow_lossy=True, **choices)
        assert any("in two steps" in str(fault.help) for fault in error.value.faults)
    convert(folder, tmp_path / "plain", to="bf16")
    convert(tmp_path / "plain", tmp_path / "out", **choices)


def test_what_is_joined_is_not_quantized_at_once_and_in_two_steps_it_is(tmp_path: Path) -> None:
    source = REAL / "llama/bf16"
    with pytest.raises(ConversionRefused, match="quantize of what concat makes") as error:
        ckptkit.plan(source, to="ct", scheme="FP8_DYNAMIC", fused="fuse")
    assert "in two steps" in str(error.value.help)
    convert(source, tmp_path / "fused", to="bf16", fused="fuse")
    convert(tmp_path / "fused", tmp_path / "out", to="ct", scheme="FP8_DYNAMIC")
    assert "model.layers.0.self_attn.qkv_proj" in ckptkit.open(tmp_path / "out").modules


def test_a_plain_checkpoint_gets_new_shards_and_no_other_type(tmp_path: Path) -> None:
    source = REAL / "llama/bf16"
    plan = convert(source, tmp_path / "out", to="bf16", max_shard_size="20KB").plan
    assert len(plan.output.shards) > 3 and plan.cost.computed == 0 and plan.verdict.value == "lossless"
    assert tensors_of(tmp_path / "out") == tensors_of(source)
    assert json.loads((tmp_path / "out" / CONFIG).read_text()) == load("llama/bf16").config
    with pytest.raises(UsageError, match="has weights in BF16, not F16") as error:
        ckptkit.plan(source, to="f16", max_shard_size="20KB")
    assert "--to bf16" in str(error.value.help)
