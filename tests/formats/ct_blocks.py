"""compressed-tensors configs to be changed: a sound one, and with other keys in its group or in its weights."""

from __future__ import annotations

from typing import Any

from tests.formats.synthetic import GROUPS, args

CHANNEL = {**GROUPS["channel"], "targets": ["Linear"]}
INT4 = {"format": "pack-quantized", "targets": ["Linear"], "weights": {"num_bits": 4}}


def block(changes: dict[str, Any]) -> dict[str, Any]:
    """A sound config with these keys instead of its own."""
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**CHANNEL, "format": "float-quantized"}},
        "ignore": [],
        **changes,
    }


def group(**changes: Any) -> dict[str, Any]:
    return {"config_groups": {"group_0": {**CHANNEL, **changes}}}


def weights(**changes: Any) -> dict[str, Any]:
    return group(weights={**args("channel"), **changes})
