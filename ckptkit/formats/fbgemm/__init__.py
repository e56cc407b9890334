"""``quant_method: fbgemm_fp8``: a scale for each row of a weight, inputs clamped and quantized token by token.

Source: transformers (``FbgemmFp8Config``) and vLLM (``quantization/fbgemm_fp8.py``), at the releases that
``ckptkit.engines`` names.
"""

from ckptkit.formats.fbgemm.dialect import Fbgemm

__all__ = ["Fbgemm"]
