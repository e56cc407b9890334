"""NVIDIA ModelOpt: facts only.

Source: real exports, and vLLM (``quantization/modelopt.py``) at the release that ``ckptkit.engines`` names.
"""

from ckptkit.formats.modelopt.family import ModelOpt

__all__ = ["ModelOpt"]
