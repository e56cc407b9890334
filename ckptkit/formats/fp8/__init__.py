"""``quant_method: fp8`` as vLLM and AutoFP8 (one scale for each tensor) and DeepSeek (blocks) write it: facts only.

Source: vLLM 0.32 (``quantization/fp8.py``), transformers 5.16 (``FineGrainedFP8Config``), AutoFP8.
"""

from ckptkit.formats.fp8.family import PlainFp8

__all__ = ["PlainFp8"]
