"""What was read of TensorRT-LLM, and of when it is.

Each file is known at one commit; how old that is follows from the dated pull requests that the file has or lacks. Two
of the commits lie on branches that main had not taken by September 2026: what they alone bring is told nowhere (17551
has plain FP8 read ``ignored_layers``, 17725 tells several groups apart). Some files are known by their text alone.
"""

from __future__ import annotations

from ckptkit.record import record


@record
class Source:
    """A file at a commit, and when it was so."""

    path: str
    commit: str
    date: str

    def __str__(self) -> str:
        """
        >>> str(EMBEDDING)
        'tensorrt_llm/_torch/modules/embedding.py at fbbc05dd1445 (2026)'
        """
        return self.at("")

    def at(self, place: str) -> str:
        """A function or a class in it.

        >>> EMBEDDING.at("LMHead")
        'tensorrt_llm/_torch/modules/embedding.py (LMHead) at fbbc05dd1445 (2026)'
        """
        return f"{self.path}{f' ({place})' if place else ''} at {self.commit} ({self.date})"


_MODULES = "tensorrt_llm/_torch/modules"
_MODELS = "tensorrt_llm/_torch/models"
_ROWWISES = "cpp/tensorrt_llm/kernels/cutlass_kernels/fp8_rowwise_gemm"

MODEL_CONFIG = Source("tensorrt_llm/_torch/model_config.py", "008e0af8980f", "2026-08-18 to 2026-09-14")
GROUPS = Source("tensorrt_llm/models/quant_config_utils.py", "21156a7a57ac", "2026-08")
MODELOPT = Source("tensorrt_llm/quantization/modelopt_config.py", "2edf354d4b92", "2026-05")
LINEARS = Source(f"{_MODULES}/linear.py", "00bbf71e7964", "by 2026-06")
EXPERTS = Source(f"{_MODULES}/fused_moe/fused_moe_cutlass.py", "000a01de66f0", "1.0.0rc4, 2025")
EMBEDDING = Source(f"{_MODULES}/embedding.py", "fbbc05dd1445", "2026")
QWEN3_MOE = Source(f"{_MODELS}/modeling_qwen3_moe.py", "03441af14b66", "2026")
MIXTRAL = Source(f"{_MODELS}/modeling_mixtral.py", "000a01de66f0", "1.0.0rc4, 2025")
HARDWARE = Source("docs/source/features/quantization.md", "09d4c79ba941", "2025")
BLOCK_GEMM = Source("cpp/tensorrt_llm/thop/fp8BlockScalingGemm.cpp", "1e9d2162b1f7", "by 2026-06")
ROWWISE_GEMM = Source(f"{_ROWWISES}/fp8_rowwise_gemm_template.h", "fd96a08bdc48", "2025")
ROWWISE_SM100 = Source(f"{_ROWWISES}/fp8_rowwise_gemm_kernel_template_sm100.h", "0ccebeb65c1d", "2025")
MXFP8_LINEARS = Source("tests/unittest/_torch/modules/test_mxfp8_linear.py", "3d5df9b22250", "2026")
MODELS = Source("docs/source/models/supported-models.md", "00b6d5a25c30", "2026-09")
#: What each numbered release brought.
NOTES = Source("docs/source/release-notes.md", "001eaecea63d", "2026")
#: The options of its command for serving, each with its forms, as its own test holds them.
SERVE = Source("tests/unittest/api_stability/references/trtllm_serve_cli.yaml", "029e223d527d", "2026")

SOURCES = (
    *(MODEL_CONFIG, GROUPS, MODELOPT, LINEARS, EXPERTS, EMBEDDING, QWEN3_MOE, MIXTRAL, HARDWARE, BLOCK_GEMM),
    *(ROWWISE_GEMM, ROWWISE_SM100, MXFP8_LINEARS, MODELS, NOTES, SERVE),
)

#: Pull requests and issues, with the month of their threads; what was merged is in main since.
NAMED_GROUPS = "pull request 15415 (2026-06), merged, and its tests"
STATIC_FP8 = "pull request 15123 (2026-06), merged"
MXFP8 = "pull request 14962 (2026-06), merged, and test_load_mxfp8_hf_quant_config"
NVFP4_WEIGHTS = "pull request 16511 (2026-07), merged"
NVFP4_SIZES = "pull request 19091 (2026-09), merged, and its tests"
IGNORED_LAYERS = "pull request 17551 (2026-08), closed: what it adds is not read"
#: Known by its text, of July or August 2026.
SKIPPING = "tensorrt_llm/models/modeling_utils.py (is_module_excluded_from_quantization) of 2026"
#: What reads configs before the backend does, known by its text.
FIRST_READER = "tensorrt_llm/llmapi/llm_utils.py (_update_from_hf_quant_config) of 2026"
#: The table of what experts have on which hardware, known by its text.
EXPERTS_TABLE = f"{EXPERTS.path} of 2026 (its table of algorithms)"

#: Any release: what opens files, or follows from the numbers.
SAFETENSORS = "safetensors, which opens files"
CONFIGS = "transformers, which opens config.json"
ARITHMETIC = f"{LINEARS}: it multiplies with what is stored"
