"""compressed-tensors: what llm-compressor writes and vLLM, SGLang and transformers read.

Source for keys, defaults and matching: compressed-tensors 0.20 (``quantization/quant_config.py``,
``quant_args.py``, ``utils/match.py``) and vLLM 0.32 (``quantization/compressed_tensors``).
"""

from ckptkit.formats.compressed_tensors.dialect import CompressedTensors

__all__ = ["CompressedTensors"]
