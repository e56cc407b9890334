"""What values of configs that are not understood (CK600) do in Quark's importer: what it builds of them.

``QTensorConfig`` (``quark/torch/quantization/config/config.py``) looks words up among its own. What is built of one is
in ``quark/torch/export/nn/modules/{qparamslinear_builder,realquantizer}.py``: weights are multiplied by their scales
as they are stored, whatever type was declared, and inputs are rounded as declared.
"""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.config_values import LAYERS, about

_ERROR, _OK = Outcome.ERROR, Outcome.OK
_NATIVE, _CUSTOM = ("quark",), ("quark-fp8",)
_NOT_STATIC = tuple(layers for layers in LAYERS if layers != "-static")

VALUES: Outcomes = MappingProxyType(
    {
        **dict.fromkeys(
            about("export-missing"),
            (Known(_ERROR, "KeyError: 'export'", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("default-missing"),
            (Known(_ERROR, "TypeError: 'NoneType' object is not subscriptable", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-dtype", "input-dtype", "weight-granularity"),
            (Known(_ERROR, "KeyError: no word of its own", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("bias"),
            (Known(_ERROR, "ValueError: The loaded checkpoint misses the keys of bias quantizers", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-axis"),
            (Known(_ERROR, "RuntimeError: size mismatch, for scales of columns", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-e5m2"),
            (Known(_OK, "the type of what is stored counts", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-asymmetric", "input-asymmetric"),
            (Known(_OK, "only integers have zero points", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("input-e5m2"),
            (Known(_OK, "inputs are rounded as declared", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("input-axis", layers=_NOT_STATIC),
            (Known(_OK, "inputs are rounded as declared", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("input-axis", layers=("-static",)),
            (Known(_ERROR, "AssertionError: the input static quantized per channel", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("kv-group", "kv-group-of-none"),
            (Known(_OK, "the key is not looked at", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-format"),
            (Known(_OK, "any word but fake_quantized stands for codes", formats=_NATIVE),),
        ),
        **dict.fromkeys(
            about("weight-format-fake"),
            (Known(_ERROR, "codes are divided by scales once more, which no kernel does", formats=_NATIVE),),
        ),
        "CK600/fake": (Known(_OK, "weights are rounded once more, to where they are", formats=_NATIVE),),
        **dict.fromkeys(
            about("scheme"),
            (Known(_OK, "any word but dynamic stands for static inputs", formats=_CUSTOM),),
        ),
    }
)
