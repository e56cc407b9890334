"""vLLM's table of kernels against its own choosers, under platforms that play the hardware."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptkit.engines.gpus import GPUS, Gpu
from ckptkit.engines.registry import by_name
from ckptkit.engines.support import Answer
from tests.engines.hardware import QUESTIONS

from .runner import Drivers

#: How the classes of kernels begin, and what our table calls them.
FAMILIES = {
    "Marlin": "Marlin",
    "Cutlass": "CUTLASS",
    "TritonOrCutlass": "CUTLASS",
    "FlashInferFP8ScaledMM": "FlashInfer",
    "FlashInferFp8DeepGEMM": "DeepGEMM",
    "DeepGemm": "DeepGEMM",
    "TritonOrDeepGemm": "DeepGEMM",
    "FlashInferExperts": "FlashInfer",
    "FlashInferCut": "FlashInfer",
    "Emulation": "emulation",
    "RocmDotScaled": "Triton",
    "TrtLlmFp8": "FlashInfer",
    "Triton": "Triton",
    "PerTensorTorch": "torch._scaled_mm",
    "RowWiseTorch": "torch._scaled_mm",
    "ChannelWiseTorch": "torch._scaled_mm",
    "ROCmFP8": "torch._scaled_mm",
}


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    with Drivers() as started:
        yield started


def family(kernel: str) -> str:
    """What our table calls a kernel, by the longest beginning that fits; empty for what was raised."""
    fitting = [beginning for beginning in FAMILIES if kernel.startswith(beginning)]
    return FAMILIES[max(fitting, key=len)] if fitting else ""


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.capability)
def test_vllm_chooses_what_its_table_says(gpu: Gpu, drivers: Drivers, tmp_path: Path) -> None:
    question = {"gpu": gpu.capability, "schemes": [question.to_json() for question in QUESTIONS]}
    (tmp_path / "question.json").write_text(json.dumps(question), encoding="utf-8")
    (answer,) = drivers.run("vllm", "vllm_kernels", [tmp_path])
    assert answer["error"] is None
    wrong = {}
    for asked, kernel in zip(QUESTIONS, answer["kernels"], strict=True):
        said = asked.judged(by_name("vllm"), gpu)
        refused = not family(kernel)
        # A chooser does not know that the CPU wheel lacks the quantization of static inputs: loading shows it.
        if said.answer is Answer.UNKNOWN or (gpu.capability == "cpu" and asked.inputs.startswith("static")):
            continue
        if (said.answer is Answer.REFUSED) is not refused or (
            not refused and not said.kernel.startswith(family(kernel))
        ):
            wrong[str(asked)] = (said.answer.value, said.kernel, kernel)
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())
