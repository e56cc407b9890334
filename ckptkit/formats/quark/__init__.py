"""AMD Quark exports, in the native layout and in the ``fp8`` custom mode.

Source for keys, defaults and matching: Quark (``torch/quantization/config``, ``torch/export``) and vLLM
(``quantization/quark``), at the releases that ``ckptkit.engines`` names, read and run; older exports as found on the
Hub.
"""

from ckptkit.formats.quark.dialect import Quark

__all__ = ["Quark"]
