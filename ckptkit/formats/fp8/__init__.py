"""``quant_method: fp8`` as vLLM and AutoFP8 (one scale for each tensor) and DeepSeek (blocks) write it: facts only.

Source: vLLM (``quantization/fp8.py``), transformers (``FineGrainedFP8Config``), at the releases that
``ckptkit.engines`` names, and AutoFP8.
"""

from ckptkit.formats.fp8.family import PlainFp8

__all__ = ["PlainFp8"]
