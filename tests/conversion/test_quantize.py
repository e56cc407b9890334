"""Plain checkpoints quantized by presets: the bytes of each tool's own exports of the same weights, and the words."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.conversion.plan import Plan, Verdict
from ckptkit.engines.vllm.classes import OWN_LISTS
from ckptkit.errors import CkptkitError, ConversionRefused, FormatError, UsageError
from ckptkit.formats.registry import formats
from tests.conftest import WriteCheckpoint
from tests.damage import CONFIG, REAL, SHARD, load, tensors_of
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)

CT, QUARK, CHANNELS = ("ct", "FP8_DYNAMIC"), ("quark", "ptpc_fp8"), ("modelopt", "FP8_PER_CHANNEL_PER_TOKEN")
#: Export -> the target and the preset that make the same of its base.
EXPORTS = {
    **{f"{name}/llmcompressor-dynamic": CT for name in ("llama", "llama-tied", "qwen2", "qwen3", "phi3")},
    **{f"{name}/llmcompressor-dynamic": CT for name in ("qwen3_moe", "mixtral", "qwen2_5_vl")},
    "llama/llmcompressor-dynamic-sharded": CT,
    "llama-block-aligned/llmcompressor-block": ("ct", "FP8_BLOCK"),
    **{f"{name}/quark-ptpc": QUARK for name in ("llama", "llama-tied", "qwen2", "qwen3", "phi3")},
    "qwen3_moe/quark-ptpc-experts": QUARK,
    "mixtral/quark-ptpc-experts": QUARK,
    "llama/modelopt-channel": CHANNELS,
    "qwen3_moe/modelopt-channel": CHANNELS,
    "llama-block-wide/modelopt-block": ("modelopt", "FP8_PB_WO"),
}
#: The same for those whose static scales come from the export itself.
CALIBRATED = {
    "llama/llmcompressor-fp8": ("ct", "FP8"),
    "llama/llmcompressor-fp8-kv": ("ct", "FP8"),
    "llama/llmcompressor-dynamic-kv": CT,
    "llama/llmcompressor-dynamic-kv-heads": CT,
    "qwen2_5_vl/llmcompressor-fp8-kv": ("ct", "FP8"),
    "llama/quark-fp8": ("quark", "fp8"),
    "llama/quark-fp8-kv": ("quark", "fp8"),
    "llama/quark-ptpc-kv": QUARK,
    "phi3/quark-fp8-kv": ("quark", "fp8"),
    "gemma3/quark-fp8-kv": ("quark", "fp8"),
    "llama/modelopt-fp8": ("modelopt", "FP8"),
    "llama/modelopt-fp8-kv": ("modelopt", "FP8"),
    "llama-tied/modelopt-fp8": ("modelopt", "FP8"),
}
#: Names that a tool gives to what the base calls otherwise: transformers renames when it loads and saves.
RENAMED = (
    (r"^(language_model)\.model\.", r"model.\1."),
    (r"^language_model\.lm_head", "lm_head"),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
    (r"\.block_sparse_moe\.", ".mlp."),
    (r"\.w1\.", ".gate_proj."),
    (r"\.w2\.", ".down_proj."),
    (r"\.w3\.", ".up_proj."),
)
LLAMA = REAL / "llama/bf16"


def base_of(export: str) -> Path:
    return REAL / export.split("/")[0] / "bf16"


def stripped(tensors: dict[str, RawTensor]) -> dict[str, RawTensor]:
    """Tensors under the names that both sides of a comparison are brought to."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, to in RENAMED:
            name = re.sub(pattern, to, name)
        found[name] = tensor
    return found


def refusal(source: Path, destination: Path, **choices: Any) -> CkptkitError:
    """Why a conversion is refused, which leaves nothing behind."""
    with pytest.raises(CkptkitError) as caught:
        convert(source, destination, **choices)
    assert not destination.exists() and not [p for p in destination.parent.iterdir() if p.name.startswith(".")]
    return caught.value


@pytest.mark.parametrize("name", EXPORTS)
def test_bytes_are_those_of_the_tools_own_export(name: str, tmp_path: Path) -> None:
    to, scheme = EXPORTS[name]
    plan = convert(base_of(name), tmp_path / "out", to=to, scheme=scheme).plan
    assert stripped(tensors_of(tmp_path / "out")) == stripped(tensors_of(REAL / name))
    assert plan.verdict is Verdict.LOSSY
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    ours, theirs = ckptkit.open(tmp_path / "out"), ckptkit.open(REAL / name)
    assert {str(scheme) for scheme in ours.schemes} == {str(scheme) for scheme in theirs.schemes}
    assert not [f for f in ckptkit.validate(tmp_path / "out").findings if f.severity.value == "error"]


@pytest.mark.parametrize("name", CALIBRATED)
def test_scales_from_an_export_make_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    to, scheme = CALIBRATED[name]
    plan = convert(base_of(name), tmp_path / "out", to=to, scheme=scheme, scales_from=REAL / name).plan
    assert stripped(tensors_of(tmp_path / "out")) == stripped(tensors_of(REAL / name))
    assert "taken from" in " ".join(plan.notes)


def test_ragged_blocks_are_llm_compressors(tmp_path: Path) -> None:
    name = "llama-block-ragged/llmcompressor-block"
    apart = ("*.o_proj", "*.down_proj")
    convert(base_of(name), tmp_path / "out", to="ct", scheme="fp8_block", modules=apart)
    ours, theirs = tensors_of(tmp_path / "out"), tensors_of(REAL / name)
    found = [tensor for tensor in ours if ours[tensor].dtype == "F8_E4M3" or tensor.endswith("_scale")]
    assert len(found) == 4 and {ours[f"{tensor}"].shape for tensor in found} >= {(2, 2), (192, 160)}
    assert all(ours[tensor] == theirs[tensor] for tensor in found)
    # What engines merge, and cannot cut inside a block, they refuse to load.
    error = refusal(base_of(name), tmp_path / "whole", to="ct", scheme="FP8_BLOCK")
    assert "CK801" in str(error.faults[0].message)


@pytest.mark.parametrize(("scheme", "mode"), [(None, "block"), ("FP8_PER_BLOCK", None), ("fp8_per_tensor", "tensor")])
def test_plain_fp8_has_vllms_schemes(scheme: str | None, mode: str | None, tmp_path: Path) -> None:
    source = REAL / "llama-block-aligned/bf16"
    convert(source, tmp_path / "out", to="fp8", scheme=scheme, mode=mode)
    ours = ckptkit.open(tmp_path / "out")
    assert ours.dialect == ("per tensor" if mode == "tensor" else "block")
    scales = {module.weight_scale.dtype for module in ours.modules.values() if module.weight_scale}
    assert len(ours.modules) == 7 and scales == {"F32"}


def test_every_preset_quantizes_or_says_what_it_needs(tmp_path: Path) -> None:
    """Data and code agree: each preset is one of its own format's schemes, whatever case it is typed in."""
    source, tried = REAL / "llama-block-wide/bf16", 0
    for form in formats():
        for one in form.presets:
            for name in (one.name.swapcase(), *one.aliases):
                tried += 1
                if one.scheme.has_static_input:
                    with pytest.raises(ConversionRefused, match="needs calibration"):
                        ckptkit.plan(source, to=form.name, scheme=name)
                else:
                    plan = ckptkit.plan(source, to=form.name, scheme=name)
                    assert sum("quantize" in step.operations for step in plan.steps)
    assert tried >= 13


def test_what_stays_in_high_precision_is_told_with_its_reason(tmp_path: Path) -> None:
    notes = "\n".join(ckptkit.plan(REAL / "qwen3_moe/bf16", to="ct", scheme="FP8_DYNAMIC").notes)
    assert "the output head: 1 module (lm_head)" in notes
    assert re.search(r"routers, .*: 2 modules \(model\.layers\.\*\.mlp\.gate\)", notes)
    notes = "\n".join(ckptkit.plan(REAL / "qwen2_5_vl/bf16", to="ct", scheme="FP8_DYNAMIC").notes)
    assert re.search(r"towers and projectors .*: \d+ modules \(visual\.", notes)


def test_prediction_layers_and_a_tools_own_list_are_left_alone(
    tmp_path: Path, write_checkpoint: WriteCheckpoint
) -> None:
    weight = RawTensor("BF16", (16, 16), b"\x80\x3f" * 256)
    names = ("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", "mtp.fc", "model.layers.0.x.proj_out")
    config = {"num_hidden_layers": 1, "num_nextn_predict_layers": 1, "architectures": ["X"]}
    source = write_checkpoint({SHARD: {f"{name}.weight": weight for name in names}}, config)
    for to, scheme, left in (("ct", "FP8_DYNAMIC", names[1:3]), ("modelopt", CHANNELS[1], names[1:])):
        convert(source, tmp_path / to, to=to, scheme=scheme)
        found = tensors_of(tmp_path / to)
        assert {name for name in names if found[f"{name}.weight"].dtype == "BF16"} == set(left)
        ignored = json.loads((tmp_path / to / CONFIG).read_text())["quantization_config"]["ignore"]
        assert set(left) <= set(ignored)


def test_what_classes_build_plain_is_left_alone_as_far_as_that_is_known(
    tmp_path: Path, write_checkpoint: WriteCheckpoint
) -> None:
    weight = RawTensor("BF16", (16, 16), b"\x80\x3f" * 256)
    names = ("model.layers.0.self_attn.o_proj", "model.layers.0.self_attn.indexer.weights_proj")
    for architecture, left in (("DeepseekV32ForCausalLM", {names[1]}), (OWN_LISTS[0], set())):
        source = write_checkpoint(
            {SHARD: {f"{name}.weight": weight for name in names}}, {"architectures": [architecture]}, architecture
        )
        convert(source, tmp_path / f"{architecture}-out", to="ct", scheme="FP8_DYNAMIC")
        assert set(names) - set(ckptkit.open(tmp_path / f"{architecture}-out").modules) == left


def test_what_is_stored_with_its_inputs_first_is_left_alone_whatever_is_asked(
    tmp_path: Path, write_checkpoint: WriteCheckpoint
) -> None:
    """GPT-2's layers are no linear ones: a scale for each row would be one for each input."""
    weight, last = RawTensor("BF16", (16, 16), b"\x80\x3f" * 256), "h.0.lora"
    names = (*(f"h.0.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")), last)
    source = write_checkpoint(
        {SHARD: {f"{name}.weight": weight for name in names}}, {"architectures": ["GPT2LMHeadModel"]}
    )
    plan = convert(source, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC", default_skips=False).plan
    assert set(ckptkit.open(tmp_path / "out").modules) == {last}
    assert any("stored as [inputs, outputs]" in note and "4 modules" in note for note in plan.notes)


def test_skip_and_modules_choose_by_pattern(tmp_path: Path) -> None:
    choices: dict[str, Any] = {"to": "ct", "scheme": "FP8_DYNAMIC"}
    convert(LLAMA, tmp_path / "skip", skip=["*.layers.1.*", "*.o_proj"], **choices)
    assert set(ckptkit.open(tmp_path / "skip").modules) == {
        f"model.layers.0.{name}"
        for name in (*(f"self_attn.{x}_proj" for x in "qkv"), *(f"mlp.{x}_proj" for x in ("gate", "up", "down")))
    }
    plan = convert(LLAMA, tmp_path / "only", modules="*.down_proj", skip="*.0.*", **choices).plan
    assert set(ckptkit.open(tmp_path / "only").modules) == {"model.layers.1.mlp.down_proj"}
    assert "as asked: 7 modules" in " ".join(plan.notes) and "since others are named" in " ".join(plan.notes)
    error = refusal(LLAMA, tmp_path / "none", skip="*.nothing", **choices)
    assert isinstance(error, UsageError) and "'*.nothing' in skip matches no module" in error.message
    error = refusal(LLAMA, tmp_path / "all", modules="lm_head", **choices)
    assert "nothing to quantize" in error.message and "--no-default-skips" in (error.help or "")
    error = refusal(LLAMA, tmp_path / "part", skip="*.q_proj", **choices)
    assert "errors that the source has not" in error.message


def test_without_default_skips_heads_are_quantized_too(tmp_path: Path) -> None:
    convert(LLAMA, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC", default_skips=False)
    assert "lm_head" in ckptkit.open(tmp_path / "out").modules
    error = refusal(LLAMA, tmp_path / "quark", to="quark", scheme="ptpc_fp8", default_skips=False)
    assert error.faults[0].kind == "quantized-head"


def test_another_quantization_is_refused_with_the_way_round(tmp_path: Path) -> None:
    source = REAL / "llama-block-aligned/modelopt-nvfp4"
    error = refusal(source, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC")
    assert error.faults[0].kind == "quantized" and "--to bf16" in (error.faults[0].help or "")


def test_a_plain_source_without_a_scheme_is_refused_with_the_schemes(tmp_path: Path) -> None:
    error = refusal(LLAMA, tmp_path / "out", to="ct")
    assert isinstance(error, FormatError) and "not a quantized checkpoint" in error.message
    assert "--scheme" in (error.help or "") and "FP8_DYNAMIC" in (error.help or "")
    assert "nothing for ckptkit to convert" in (refusal(LLAMA, tmp_path / "out", to="bf16").help or "")


def test_an_unknown_scheme_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    error = refusal(LLAMA, tmp_path / "out", to="ct", scheme="FP8_DYNAMICAL")
    assert "did you mean 'FP8_DYNAMIC'?" in (error.help or "") and "FP8_BLOCK" in (error.help or "")
    assert "has no schemes" in refusal(LLAMA, tmp_path / "out", to="fbgemm", scheme="x").message


@pytest.mark.parametrize(
    ("to", "typed", "meant"),
    [
        ("ct", "fp8-dynamic", "FP8_DYNAMIC"),
        ("ct", "FP8 Block", "FP8_BLOCK"),
        ("quark", "PTPC-FP8", "ptpc_fp8"),
        ("modelopt", "fp8_pc_pt", "FP8_PER_CHANNEL_PER_TOKEN"),  # as hf_ptq.py's --qformat
        ("modelopt", "fp8_2d_blockwise_weight_only", "FP8_PB_WO"),  # as its recipes
    ],
)
def test_schemes_are_known_by_every_name_that_their_tools_have(to: str, typed: str, meant: str) -> None:
    source = REAL / "llama-block-wide/bf16"
    same = ckptkit.plan(source, to=to, scheme=meant)
    assert ckptkit.plan(source, to=to, scheme=typed).to_json() == same.to_json()


def test_choices_that_are_about_quantizing_need_a_scheme(tmp_path: Path) -> None:
    quark = REAL / "llama/quark-ptpc"
    choices: tuple[dict[str, Any], ...] = ({"skip": "x"}, {"default_skips": False})
    for choice in choices:
        error = refusal(quark, tmp_path / "out", to="ct", **choice)
        assert isinstance(error, UsageError) and f"{next(iter(choice))} is for quantizing" in error.message


def test_static_inputs_need_calibration(tmp_path: Path) -> None:
    error = refusal(LLAMA, tmp_path / "out", to="ct", scheme="FP8")
    assert "needs calibration" in error.message and "--scales-from" in (error.faults[0].help or "")


def test_scales_that_the_other_checkpoint_lacks_are_listed_at_once(tmp_path: Path) -> None:
    other = load("llama/llmcompressor-fp8-kv")
    for name in ("model.layers.0.mlp.up_proj.input_scale", "model.layers.1.self_attn.v_scale"):
        del other.tensors[name]
    folder = other.write(tmp_path / "other")
    error = refusal(LLAMA, tmp_path / "out", to="ct", scheme="FP8", scales_from=folder)
    assert [(fault.kind, fault.tensor) for fault in error.faults] == [
        ("input-scale-missing", "model.layers.0.mlp.up_proj"),
        ("kv-scale-missing", "model.layers.1.self_attn"),
    ]
    error = refusal(LLAMA, tmp_path / "out", to="ct", scheme="FP8", scales_from=REAL / "llama/llmcompressor-dynamic")
    assert len(error.faults) == 14 and "dynamic" in (error.faults[0].found or "")
    plain = REAL / "llama/llmcompressor-dynamic"
    error = refusal(LLAMA, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC", scales_from=plain)
    assert isinstance(error, UsageError) and "has no scales of a KV cache" in error.message


def test_scales_come_from_another_format_and_survive_as_they_are(tmp_path: Path) -> None:
    """Quark's scales of inputs and of the cache under the names of compressed-tensors, bit for bit."""
    convert(LLAMA, tmp_path / "out", to="ct", scheme="FP8", scales_from=REAL / "llama/quark-fp8-kv")
    ours, theirs = tensors_of(tmp_path / "out"), tensors_of(REAL / "llama/quark-fp8-kv")
    assert ours["model.layers.0.mlp.up_proj.input_scale"].data == theirs["model.layers.0.mlp.up_proj.input_scale"].data
    assert ours["model.layers.1.self_attn.k_scale"].data == theirs["model.layers.1.self_attn.k_proj.output_scale"].data


def test_scales_of_a_mixture_come_from_one_with_the_names_that_transformers_saves(tmp_path: Path) -> None:
    """Mixtral's experts are w1, w2, w3 of block_sparse_moe in the base, and renamed in the export."""
    other = load("mixtral/llmcompressor-dynamic")
    other.group["input_activations"] = {**load("llama/llmcompressor-fp8").group["input_activations"]}
    for name in other.names(r".*\.weight_scale"):
        other.put(name.replace("weight_scale", "input_scale"), "BF16", (1,), b"\x80\x3c")
    donor = other.write(tmp_path / "donor")
    convert(REAL / "mixtral/bf16", tmp_path / "out", to="ct", scheme="FP8", scales_from=donor)
    modules = ckptkit.open(tmp_path / "out").modules
    assert len(modules) == len(ckptkit.open(donor).modules)
    found = tensors_of(tmp_path / "out")
    assert {found[m.input_scale.name].data for m in modules.values() if m.input_scale} == {b"\x80\x3c"}


def stack(rows: int, columns: int) -> RawTensor:
    return RawTensor("BF16", (2, rows, columns), b"\x80\x3f" * (2 * rows * columns))


def moe(write_checkpoint: WriteCheckpoint, gate_up: RawTensor, name: str) -> Path:
    experts = "model.layers.0.mlp.experts"
    weight = RawTensor("BF16", (128, 128), b"\x80\x3f" * 128 * 128)
    tensors = {
        "model.layers.0.self_attn.o_proj.weight": weight,
        f"{experts}.gate_up_proj": gate_up,
        f"{experts}.down_proj": stack(128, 256),
    }
    config = {"hidden_size": 128, "num_hidden_layers": 1, "architectures": ["Qwen3MoeForCausalLM"]}
    return write_checkpoint({SHARD: tensors}, config, name)


def test_stacks_of_experts_go_where_stacks_are_held(tmp_path: Path, write_checkpoint: WriteCheckpoint) -> None:
    source = moe(write_checkpoint, stack(512, 128), "moe")
    convert(source, tmp_path / "fp8", to="fp8")
    found = tensors_of(tmp_path / "fp8")
    assert found["model.layers.0.mlp.experts.gate_up_proj"].dtype == "F8_E4M3"
    assert found["model.layers.0.mlp.experts.gate_up_proj_scale_inv"].shape == (2, 4, 1)
    error = refusal(source, tmp_path / "ct", to="ct", scheme="FP8_BLOCK")
    assert {fault.kind for fault in error.faults} == {"stacked-experts"} and len(error.faults) == 2
    plan = convert(source, tmp_path / "left", to="ct", scheme="FP8_BLOCK", skip="*.experts.*").plan
    assert tensors_of(tmp_path / "left")["model.layers.0.mlp.experts.down_proj"] == stack(128, 256)
    assert "as asked: 2 modules" in " ".join(plan.notes)
    turned = moe(write_checkpoint, stack(128, 512), "turned")
    error = refusal(turned, tmp_path / "turned-out", to="fp8")
    assert "inputs along the rows" in error.faults[0].message
    assert (error.faults[0].file, error.faults[0].tensor) == (SHARD, "model.layers.0.mlp.experts.gate_up_proj")


def test_what_is_no_number_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    broken = load("llama/bf16")
    name = "model.layers.1.mlp.up_proj.weight"
    tensor = broken.tensors[name]
    broken.tensors[name] = tensor._replace(data=tensor.data[:-2] + b"\xc0\x7f")
    folder = broken.write(tmp_path / "broken")
    error = refusal(folder, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC")
    assert name in error.message and "not finite" in error.message


def test_other_floats_are_sources_too(tmp_path: Path, write_checkpoint: WriteCheckpoint) -> None:
    for dtype, one in (("F16", b"\x00\x3c"), ("F32", b"\x00\x00\x80\x3f")):
        weight = RawTensor(dtype, (16, 16), one * 256)
        source = write_checkpoint({SHARD: {"model.layers.0.mlp.up_proj.weight": weight}}, {}, dtype)
        plan = convert(source, tmp_path / f"{dtype}-out", to="ct", scheme="FP8_DYNAMIC").plan
        assert plan.source_format == f"{dtype.lower()} (no quantization)"
        scale = tensors_of(tmp_path / f"{dtype}-out")["model.layers.0.mlp.up_proj.weight_scale"]
        assert scale.dtype == dtype
    integers = {"model.layers.0.mlp.up_proj.weight": RawTensor("I32", (4, 4), b"\0" * 64)}
    source = write_checkpoint({SHARD: integers}, {}, "integers")
    assert refusal(source, tmp_path / "out", to="ct", scheme="FP8_DYNAMIC").faults[0].kind == "dtype"


def test_a_plan_reads_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of shards while planning are headers; the scales of the result come only when it is written."""
    from ckptkit.storage.source import LocalSource

    read: list[tuple[int, int]] = []
    original = LocalSource.read

    def noted(self: LocalSource, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        if name == SHARD and nbytes:
            read.append((start, nbytes))
        return original(self, name, start, nbytes)

    monkeypatch.setattr(LocalSource, "read", noted)
    for scheme in ("FP8_DYNAMIC", "FP8"):
        ckptkit.plan(LLAMA, to="ct", scheme=scheme, scales_from=REAL / "llama/llmcompressor-fp8-kv")
    assert read and all(start == 0 or nbytes < 512 for start, nbytes in read)  # headers, and scales of the other one


@pytest.mark.parametrize(
    ("mode", "name"), [("tensor", "fp8_per_tensor"), ("transformers", "fp8_per_tensor"), ("block", "fp8_per_block")]
)
def test_a_mode_alone_means_the_preset_that_it_holds(mode: str, name: str) -> None:
    source = REAL / "llama-block-aligned/bf16"
    named = ckptkit.plan(source, to="fp8", mode=mode, scheme=name)
    assert ckptkit.plan(source, to="fp8", mode=mode).to_json() == named.to_json()
