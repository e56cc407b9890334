"""``quant_method: mxfp8``: groups of 32 E4M3 elements with a power of two each. Read and judged, not written.

Source: public checkpoints of this kind, and how vLLM and SGLang turn their configs into their own.
"""

from ckptkit.formats.mxfp8.dialect import Mxfp8

__all__ = ["Mxfp8"]
