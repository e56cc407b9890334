"""Hardware: its names, and verdicts, sizes and commands on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.engines.base import Engine
from ckptkit.engines.gpus import GPUS, NAMES, by_name
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.registry import engines
from ckptkit.engines.releases import Release
from ckptkit.errors import UsageError
from ckptkit.views.matrix import Matrix, MatrixRow, build_matrix
from tests.damage import BLOCK, CT, CT_FP8, CT_KV, MOE, QUARK, QUARK_CUSTOM, MutableCheckpoint, load
from tests.engines.hardware import QUESTIONS
from tests.rules.case import context_of

LOADS, SLOW, REFUSES, UNKNOWN = "loads", "slow", "refuses", "unknown"
WEIGHT_ONLY, MODELOPT = "llama/llmcompressor-weight-only", "llama/modelopt-fp8"
NVFP4, MXFP8 = "llama-block-aligned/modelopt-nvfp4", "llama-block-aligned/modelopt-mxfp8"
FP8_BLOCK, EXPERT_BLOCKS = "llama-block-aligned/transformers-block", "qwen3_moe/transformers-block"


def matrix_on(checkpoint: MutableCheckpoint, gpu: str | None, *sizes: int) -> Matrix:
    context = context_of(checkpoint)
    kind = None if gpu is None else by_name(gpu)
    return build_matrix(context, runner.run(context, Level.SCALES), sizes, gpu=kind)


def row_on(fixture: str, engine: str, gpu: str | None, *sizes: int) -> MatrixRow:
    return next(row for row in matrix_on(load(fixture), gpu, *sizes).rows if row.engine == engine)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        *(("H100", "sm_90"), ("h200", "sm_90"), ("B200", "sm_100"), ("L4", "sm_89"), ("l40s", "sm_89")),
        *(("RTX 4090", "sm_89"), ("rtx5090", "sm_120"), ("RTX PRO 6000", "sm_120"), ("rtx-pro-6000", "sm_120")),
        *(("MI300X", "gfx942"), ("mi325x", "gfx942"), ("mi355x", "gfx950"), ("CPU", "cpu"), (" a100 ", "sm_80")),
        *(("sm_90", "sm_90"), ("SM90", "sm_90"), ("sm_90a", "sm_90"), ("9.0", "sm_90"), ("12.0", "sm_120")),
        *(("10.0", "sm_100"), ("gfx942", "gfx942"), ("GFX950", "gfx950")),
        *(("H20", "sm_90"), ("GH200", "sm_90"), ("GB200", "sm_100"), ("RTX 6000 Ada", "sm_89"), ("RTX A6000", "sm_86")),
        *(("A30", "sm_80"), ("MI350X", "gfx950"), ("mi308x", "gfx942")),
    ],
)
def test_hardware_by_name(name: str, capability: str) -> None:
    assert by_name(name).capability == capability


@pytest.mark.parametrize("name", ["", "h10", "sm_75", "7.5", "gfx90a", "tpu", "h100,h200"])
def test_hardware_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown GPU") as refused:
        by_name(name)
    assert "h100" in (refused.value.help or "")


def test_a_product_is_of_one_kind() -> None:
    named = [word for gpu in GPUS for word in (*gpu.products, *gpu.others, gpu.capability)]
    assert len(named) == len(set(named)) and all(by_name(word) is gpu for gpu in GPUS for word in gpu.others)


@pytest.mark.parametrize("name", ["gb10", "sm_121"])
def test_kinds_of_which_no_engine_says_anything_are_not_known(name: str) -> None:
    with pytest.raises(UsageError, match="unknown GPU"):
        by_name(name)


def test_what_was_meant_is_asked() -> None:
    with pytest.raises(UsageError) as refused:
        by_name("h10")
    assert (refused.value.help or "").startswith("did you mean 'h100'?")


def test_every_name_is_one_of_a_kind() -> None:
    assert len(NAMES) == len(set(NAMES)) and all(by_name(name).capability for name in NAMES)


@pytest.mark.parametrize(
    ("fixture", "engine", "verdicts"),
    [
        (CT, "vllm", {"a100": SLOW, "l4": LOADS, "h100": LOADS, "b200": LOADS, "rtx5090": LOADS, "mi300x": LOADS}),
        (CT_FP8, "vllm", {"a100": SLOW, "h100": LOADS, "mi355x": LOADS, "cpu": REFUSES}),
        (BLOCK, "vllm", {"a100": SLOW, "l4": SLOW, "h100": LOADS, "rtx5090": LOADS, "mi300x": LOADS, "cpu": UNKNOWN}),
        (WEIGHT_ONLY, "vllm", {"a100": SLOW, "h100": LOADS, "mi300x": REFUSES, "cpu": REFUSES}),
        (CT_KV, "vllm", {"a100": SLOW, "l4": LOADS, "h100": LOADS, "b200": LOADS, "mi300x": LOADS, "cpu": REFUSES}),
        (QUARK, "vllm", {"a100": REFUSES, "l4": LOADS, "mi300x": LOADS, "cpu": LOADS}),
        (MODELOPT, "vllm", {"a100": SLOW, "h100": LOADS}),
        (NVFP4, "vllm", {"h100": SLOW, "b200": LOADS, "rtx5090": LOADS, "mi355x": SLOW, "cpu": REFUSES}),
        (MXFP8, "vllm", {"l4": SLOW, "b200": LOADS, "mi300x": SLOW, "mi355x": LOADS, "cpu": REFUSES}),
        (MOE, "vllm", {"a100": SLOW, "h100": LOADS, "rtx5090": UNKNOWN, "mi300x": LOADS, "cpu": UNKNOWN}),
        (CT, "sglang", {"a100": SLOW, "h100": LOADS, "mi300x": LOADS, "cpu": UNKNOWN}),
        (BLOCK, "sglang", {"a100": REFUSES, "l4": LOADS, "h100": LOADS, "rtx5090": LOADS}),
        (QUARK, "sglang", {"a100": REFUSES, "h100": LOADS}),
        (MODELOPT, "sglang", {"a100": REFUSES, "h100": LOADS, "mi300x": UNKNOWN, "mi355x": LOADS}),
        (CT_KV, "sglang", {"a100": SLOW, "h100": LOADS, "b200": LOADS, "mi300x": LOADS, "cpu": UNKNOWN}),
        (QUARK_CUSTOM, "sglang", {"a100": SLOW, "l4": LOADS, "rtx5090": LOADS, "mi300x": LOADS}),
        (CT, "trtllm", {"h100": LOADS, "l4": LOADS, "b200": UNKNOWN, "mi300x": REFUSES, "cpu": REFUSES}),
        (BLOCK, "trtllm", {"h100": LOADS, "b200": LOADS, "b300": LOADS, "rtx5090": LOADS, "a100": REFUSES}),
        (CT, "transformers", {"a100": SLOW, "h100": SLOW, "mi300x": SLOW, "cpu": SLOW}),
        (QUARK, "transformers", {"h100": SLOW, "mi300x": UNKNOWN, "cpu": SLOW}),
        (CT_KV, "transformers", {"h100": SLOW, "mi300x": SLOW, "cpu": SLOW}),
        ("llama/quark-fp8", "quark", {"h100": SLOW, "mi300x": LOADS, "mi355x": UNKNOWN, "cpu": SLOW}),
        (QUARK, "quark", {"a100": SLOW, "h100": SLOW, "mi300x": SLOW, "mi355x": SLOW, "cpu": SLOW}),
    ],
)
def test_verdicts_on_hardware(fixture: str, engine: str, verdicts: dict[str, str]) -> None:
    assert {gpu: row_on(fixture, engine, gpu).verdict for gpu in verdicts} == verdicts


def test_a_slow_path_says_why_and_a_refusal_has_the_engines_words() -> None:
    (slow,) = row_on(CT, "vllm", "a100").parts["slow"]
    assert slow.startswith("linear layers, fused linear layers with per-channel weights") and "BF16" in slow
    (refused,) = row_on(QUARK, "vllm", "a100").parts["refused"]
    assert "Min capability: 89" in refused


def test_numbers_of_the_mi300_are_others() -> None:
    """e4m3fn codes are relabelled at load there, and nowhere else: not on the MI355, which has the same as NVIDIA's."""
    for fixture in (CT, BLOCK, "llama/quark-fp8"):
        assert all("e4m3fnuz" in kernel for kernel in row_on(fixture, "vllm", "mi300x").kernels)
        assert not any("e4m3fnuz" in kernel for kernel in row_on(fixture, "vllm", "mi355x").kernels)


@pytest.mark.parametrize(
    ("fixture", "inputs", "gpu", "kernel"),
    [
        (CT_FP8, None, "h100", "torch._scaled_mm"),
        (CT, None, "h100", "CUTLASS"),
        (MODELOPT, None, "h100", "FlashInfer"),
        (MODELOPT, None, "l4", "CUTLASS"),
        (QUARK_CUSTOM, None, "l4", "CUTLASS"),
        (QUARK_CUSTOM, None, "rtx5090", "torch._scaled_mm"),
        (CT_FP8, "token", "h100", "torch._scaled_mm"),
    ],
)
def test_what_multiplies_in_sglang(fixture: str, inputs: str | None, gpu: str, kernel: str) -> None:
    """One scale for a weight and one for each token need a pass more, wherever scales are not spread over channels."""
    draft = load(fixture)
    if inputs is not None:
        draft.group["input_activations"].update(strategy=inputs, dynamic=True)
        draft.drop(r".*\.input_scale")
    row = next(row for row in matrix_on(draft, gpu).rows if row.engine == "sglang")
    assert [found.rpartition(": ")[2] for found in row.kernels] == [kernel]
    assert row.verdict == (SLOW if inputs is not None else LOADS)


def test_without_hardware_nothing_is_narrowed() -> None:
    row = row_on(BLOCK, "vllm", None)
    assert (row.verdict, row.kernels) == (LOADS, ()) and "gpu" not in matrix_on(load(BLOCK), None).to_json()


def test_what_no_table_says_is_unknown_on_hardware() -> None:
    context = context_of(load(CT))
    mine = Engine("mine", "Mine", (Release("1", "2026-01"),), reads=frozenset({"compressed-tensors"}))
    found = [question.judged(mine, gpu) for question in QUESTIONS for gpu in GPUS]
    assert context.checkpoint is not None and {judgement.answer.value for judgement in found} == {"unknown"}
    assert found[0].words == "whether Mine has a kernel for it on sm_80"


def test_defects_that_hurt_on_some_hardware_count_there() -> None:
    """Scales that break the promise of powers of two are requantized by DeepGEMM on Blackwell only."""
    draft = load(FP8_BLOCK)
    draft.block["scale_fmt"] = "ue8m0"
    rows = {gpu: matrix_on(draft, gpu).rows[0] for gpu in (None, "h100", "b200", "rtx5090")}
    assert {gpu: "CK404" in row.codes.get("silent", ()) for gpu, row in rows.items()} == {
        None: False,
        "h100": False,
        "b200": True,
        "rtx5090": True,
    }


def test_rows_speak_of_hardware_that_exists() -> None:
    capabilities = {gpu.capability for gpu in GPUS}
    for engine in engines().values():
        for row in engine.kernels():
            assert isinstance(row, Kernel) and row.gpus and capabilities.issuperset(row.gpus), (engine.name, row)
            assert row.name or row.words, (engine.name, row)
        for fact in engine.eager():
            assert capabilities.issuperset(fact.gpus) and fact.where, (engine.name, fact)
        classes = engine.architectures()
        assert classes is None or classes.issuperset(engine.newer)


def blocked_experts(inner: int) -> MutableCheckpoint:
    """Experts of another inner size, in blocks of 128."""
    draft = load(EXPERT_BLOCKS)
    draft.config["moe_intermediate_size"] = inner
    draft.block["weight_block_size"] = [128, 128]
    for name in draft.names(r".*\.experts\.\d+\.\w+_proj\.weight"):
        rows, columns = draft.get(name).shape
        shape = (rows, inner) if "down_proj" in name else (inner, columns)
        grid = (-(-shape[0] // 128), -(-shape[1] // 128))
        draft.put(name, "F8_E4M3", shape, bytes([0x30]) * shape[0] * shape[1])
        draft.put(f"{name}_scale_inv", "F32", grid, b"\0\0\0\x3b" * grid[0] * grid[1])
    return draft


def sizes_of(checkpoint: MutableCheckpoint, engine: str, gpu: str | None) -> dict[int, bool]:
    row = next(row for row in matrix_on(checkpoint, gpu, 1, 2, 4).rows if row.engine == engine)
    experts = {size.size: [o for o in size.obstacles if "experts" in o] for size in row.parallel}
    return {size: not found for size, found in experts.items()}


def test_experts_are_split_inside_blocks_where_a_kernel_takes_finer_ones() -> None:
    """768 rows over 4 are 192: vLLM repeats scales for blocks of 64, which Triton takes; Marlin and SGLang do not."""
    draft = blocked_experts(768)
    assert sizes_of(draft, "vllm", None) == sizes_of(draft, "vllm", "h100") == {1: True, 2: True, 4: True}
    assert sizes_of(draft, "vllm", "a100") == sizes_of(draft, "sglang", "h100") == {1: True, 2: True, 4: False}
    narrow = blocked_experts(1040)
    assert sizes_of(narrow, "vllm", "h100") == {1: False, 2: False, 4: False}


def test_what_has_no_kernel_has_none_on_several_devices() -> None:
    row = row_on(WEIGHT_ONLY, "vllm", "mi300x", 1, 2)
    assert [size.works for size in row.parallel] == [False, False]
    assert all("Failed to find a kernel" in size.obstacles[0] for size in row.parallel)
    assert [size.works for size in row_on(WEIGHT_ONLY, "vllm", "h100", 1, 2).parallel] == [True, True]
    config = row_on(WEIGHT_ONLY, "trtllm", "h100", 1)
    assert config.verdict == REFUSES and config.parallel[0].works, "what it refuses anywhere is no matter of hardware"


def test_the_table_says_a_refusal_once(capsys: pytest.CaptureFixture[str]) -> None:
    from ckptkit.report.matrix import show_matrix

    show_matrix(matrix_on(load(WEIGHT_ONLY), "mi300x", 1, 2))
    shown = " ".join(capsys.readouterr().out.split())
    assert "on gfx942 (mi300x, mi325x)" in shown and shown.count("Failed to find a kernel") == 1


def test_serving_on_hardware(tmp_path: Path) -> None:
    folder = load(WEIGHT_ONLY).write(tmp_path / "weight only")
    assert ckptkit.serving(folder, gpu="h100").works
    found = ckptkit.serving(folder, gpu="mi300x", tensor_parallel=2)
    assert not found.works and found.gpu is not None and found.gpu.capability == "gfx942"
    assert [reason for reason in found.refusals if "Failed to find a kernel" in reason] == list(found.refusals)
    slow = ckptkit.serving(load(CT_KV).write(tmp_path / "kv"), gpu="L4")
    assert slow.works and slow.to_json()["gpu"] == "sm_89"
    with pytest.raises(UsageError, match="unknown GPU"):
        ckptkit.serving(folder, gpu="h1000")


def test_serving_says_before_which_release_it_cannot(tmp_path: Path) -> None:
    block = ckptkit.serving(load(BLOCK).write(tmp_path / "block"), gpu="a100")
    assert block.minimum == ("2026-01-28, for per-block 128x128 weights and dynamic per-group inputs",)
    (anywhere,) = ckptkit.serving(load(BLOCK).write(tmp_path / "anywhere")).minimum
    assert anywhere.startswith("2025-07-21, for per-block")
    draft = load(CT)
    draft.config["architectures"] = ["ExaoneMoEForCausalLM"]
    newer = ckptkit.serving(draft.write(tmp_path / "newer"))
    assert newer.minimum == ("0.32, for ExaoneMoEForCausalLM",)
    assert ckptkit.serving(load(CT).write(tmp_path / "ct")).minimum == ()


def test_serving_without_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ckptkit.engines import registry
    from ckptkit.engines.base import Eager

    draft = load(CT)
    draft.config["architectures"] = ["Qwen3_5MTP"]  # no sizes are judged of it
    folder = draft.write(tmp_path / "reported")
    (note,) = (note for note in ckptkit.serving(folder, gpu="h200").notes if "CUDA graphs" in note)
    assert "since 0.25 before 0.25.1" in note and "--enforce-eager goes round it" in note
    assert not any("CUDA graphs" in note for note in ckptkit.serving(folder, gpu="l4").notes)
    vllm = registry.by_name("vllm")
    told = replace(vllm, eager=lambda: (Eager("it crashes otherwise", "a report", architectures=("Qwen3_5",)),))
    monkeypatch.setattr(registry, "by_name", lambda name: told)
    found = ckptkit.serving(folder)
    assert found.command[-1] == "--enforce-eager" and found.options[-1].why == "it crashes otherwise (a report)"


def test_sglang_says_what_it_does_by_itself(tmp_path: Path) -> None:
    draft = load(CT)
    draft.config["architectures"] = ["HrmTextForCausalLM"]
    found = ckptkit.serving(draft.write(tmp_path / "hrm"), engine="sglang")
    assert any("without CUDA graphs by itself" in note for note in found.notes)
