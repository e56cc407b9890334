"""What users of vLLM should know of sound checkpoints. Places are below ``vllm/model_executor``."""

from __future__ import annotations

from ckptkit.engines.releases import Evidence
from ckptkit.engines.remarks import Remark, Trait

_IN_ATTENTION = "layers/attention/attention.py (Attention), ../utils/torch_utils.py (resolve_kv_cache_dtype_string)"

REMARKS: tuple[Remark, ...] = (
    Remark(
        "turns the FP8 KV cache on by itself for this checkpoint (kv_cache_scheme); pass --kv-cache-dtype bfloat16 to "
        "keep it off",
        ("compressed-tensors", "modelopt"),
        Trait.KV_CACHE,
        where=_IN_ATTENTION,
    ),
    Remark(
        "keeps the KV cache in high precision for this checkpoint unless it is told --kv-cache-dtype fp8; then it "
        "rounds the scales to the model's dtype",
        ("quark", "quark-fp8", "fp8", "fp8-block", "fp8-transformers"),
        Trait.KV_CACHE,
        where=_IN_ATTENTION,
    ),
    Remark(
        "knows no output scale of a fused projection and does not load this layout, whoever wrote it; mode fp8 and "
        "compressed-tensors are loaded",
        ("quark",),
        Trait.FUSED_ATTENTION,
        how=Evidence.RUN,
    ),
    Remark(
        "runs dynamic per-tensor activations of this format per token, which is finer",
        ("compressed-tensors",),
        Trait.DYNAMIC_TENSOR,
        where="layers/quantization/compressed_tensors/schemes/compressed_tensors_w8a8_fp8.py",
    ),
    Remark(
        "runs dynamic per-tensor activations of this format per tensor where the hardware allows it",
        ("quark", "quark-fp8"),
        Trait.DYNAMIC_TENSOR,
        where="layers/quantization/quark/schemes/quark_w8a8_fp8.py",
    ),
    Remark(
        "loads this method only with --allow-deprecated-quantization",
        ("fbgemm",),
        where="../config/model.py (_verify_quantization)",
    ),
    Remark(
        "knows these names for Mistral's classes only; mode tensor writes its own",
        ("fp8-transformers",),
        where="models/mistral3.py",
    ),
    Remark(
        "loads no FP8 experts of this class: it turns the stacks round and knows no scales of theirs. Make it plain "
        "(ckptkit convert --to bf16), or leave it as it is",
        trait=Trait.STACKS,
        architectures=("GptOss",),
        how=Evidence.RUN,
    ),
)
