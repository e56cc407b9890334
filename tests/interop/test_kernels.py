"""Tables of kernels against the engines' own choosers, on a CPU that plays the hardware."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptkit.engines.gpus import CPU, GPUS, WITHOUT_FP8, Gpu
from ckptkit.engines.layers import Layer
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


#: What SGLang's functions that multiply are called in our table.
PRODUCTS = {
    "marlin": "Marlin",
    "fp8_scaled_mm": "CUTLASS",
    "cutlass_w8a8_block_fp8_linear_with_fallback": "CUTLASS",
    "deepgemm_w8a8_block_fp8_linear_with_fallback": "DeepGEMM",
    "triton_w8a8_block_fp8_linear": "Triton",
    "flashinfer_bmm_fp8": "FlashInfer",
    "torch._scaled_mm": "torch._scaled_mm",
    "_apply_fallback_scaled_mm": "torch._scaled_mm",
}


@pytest.mark.parametrize(
    "gpu", [gpu for gpu in GPUS if gpu.capability not in ("sm_86", CPU)], ids=lambda gpu: gpu.capability
)
def test_sglang_multiplies_as_its_table_says(gpu: Gpu, drivers: Drivers, tmp_path: Path) -> None:
    asked = [
        question
        for question in QUESTIONS
        if question.layer is Layer.LINEAR
        and not question.other
        and (question.dialect, question.weights) not in (("modelopt", "per-channel"), ("modelopt", "per-block"))
    ]
    question = {"gpu": gpu.capability, "schemes": [one.to_json() for one in asked]}
    (tmp_path / "question.json").write_text(json.dumps(question), encoding="utf-8")
    (answer,) = drivers.run("sglang", "sglang_kernels", [tmp_path])
    assert answer["error"] is None
    wrong = {}
    for one, product in zip(asked, answer["kernels"], strict=True):
        said, name = one.judged(by_name("sglang"), gpu), PRODUCTS.get(product, "")
        slow = product == "_apply_fallback_scaled_mm" or (product == "marlin" and one.inputs != "none")
        slow = slow or (product == "marlin" and gpu.capability in WITHOUT_FP8)
        expected = Answer.REFUSED if not name else Answer.SLOW if slow else Answer.SUPPORTED
        if said.answer is not Answer.UNKNOWN and (said.answer is not expected or not said.kernel.startswith(name)):
            wrong[str(one)] = (said.answer.value, said.kernel, product)
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())
