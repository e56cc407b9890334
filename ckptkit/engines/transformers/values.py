"""What storages that do not hold what a group says, and schemes that are empty objects, do in transformers (CK600): it
hands the config to compressed-tensors, whose compressors look for the tensors of their storage."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.config_values import about

_CT = ("compressed-tensors",)
_PACKED = "packed weights are listed as missing, and made up"

VALUES: Outcomes = MappingProxyType(
    {
        **dict.fromkeys(
            about("inputs-empty"),
            (Known(Outcome.WARNING, "inputs are INT8; their scales are listed as missing, and made up", formats=_CT),),
        ),
        **dict.fromkeys(
            about("outputs-empty", "stored-mxfp8"),
            (Known(Outcome.UNKNOWN, "nobody has loaded it", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-dense", layers=("", "-experts", "-static")),
            (Known(Outcome.SILENT, "codes are taken for values", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-int"),
            (Known(Outcome.OK, "codes are multiplied with their scales, whatever their type", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-pack"),
            (Known(Outcome.ERROR, "shapes of what is unpacked do not fit; at the first request", formats=_CT),),
        ),
        **dict.fromkeys(
            about("stored-nvfp4-pack", "stored-mxfp4-pack"),
            (Known(Outcome.WARNING, _PACKED, formats=_CT),),
        ),
    }
)
