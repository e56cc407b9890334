"""AMD Quark exports, in the native layout and in the ``fp8`` custom mode.

Source for keys, defaults and matching: amd-quark 0.13 (``torch/quantization/config``, ``torch/export``) and
vLLM 0.32 (``quantization/quark``), read and run; older exports as found on the Hub.
"""

from ckptkit.formats.quark.dialect import Quark

__all__ = ["Quark"]
