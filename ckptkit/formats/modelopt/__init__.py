"""NVIDIA ModelOpt: what its unified export writes, and vLLM, SGLang and TensorRT-LLM read.

Source: real exports, and vLLM (``quantization/modelopt.py``) at the release that ``ckptkit.engines`` names.
"""

from ckptkit.formats.modelopt.dialect import ModelOpt

__all__ = ["ModelOpt"]
