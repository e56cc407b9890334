"""NVIDIA ModelOpt: facts only.

Source: exports of ModelOpt 0.47, and vLLM 0.32 (``quantization/modelopt.py``).
"""

from ckptkit.formats.modelopt.family import ModelOpt

__all__ = ["ModelOpt"]
