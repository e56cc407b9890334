"""ModelOpt's own converter of configs: what it makes of the ``hf_quant_config.json`` of a folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, main


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    from modelopt.torch.export.convert_hf_config import convert_hf_quant_config_format

    side = json.loads((folder / "hf_quant_config.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"error": None, "flat": convert_hf_quant_config_format(side)}


if __name__ == "__main__":
    main(examine)
