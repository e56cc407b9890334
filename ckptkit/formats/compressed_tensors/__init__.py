"""compressed-tensors: what llm-compressor writes and vLLM, SGLang and transformers read.

Source for keys, defaults and matching: the library (``quantization/quant_config.py``, ``quant_args.py``,
``utils/match.py``) and vLLM (``quantization/compressed_tensors``), at the releases that ``ckptkit.engines`` names.
"""

from ckptkit.formats.compressed_tensors.dialect import CompressedTensors

__all__ = ["CompressedTensors"]
