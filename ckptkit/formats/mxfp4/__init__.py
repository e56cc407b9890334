"""``quant_method: mxfp4``: stacks of experts in groups of 32 E2M1 elements with a power of two each. Only read.

Source: OpenAI's own checkpoints of this kind, and the integration of transformers that unpacks them.
"""

from ckptkit.formats.mxfp4.dialect import Mxfp4

__all__ = ["Mxfp4"]
