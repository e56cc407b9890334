"""``quant_method: fp8`` as DeepSeek (blocks), vLLM, AutoFP8 and transformers (one scale a tensor) write it."""

from ckptkit.formats.fp8.dialect import PlainFp8

__all__ = ["PlainFp8"]
