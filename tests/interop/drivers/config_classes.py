"""The real configuration classes: which configs they can be built from, and what they write back.

A folder holds ``configs.json``, a list of quantization configs. The answer has one entry for each: ``refused`` says
why the class would not take it, ``written`` is what the class makes of it.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .common import Answer, main

Config = dict[str, Any]


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    build = {"compressed-tensors": _compressed_tensors, "quark": _quark}[options["library"]]
    configs = json.loads((folder / "configs.json").read_text(encoding="utf-8"))
    return {"answers": [_answer(build, config) for config in configs]}


def _answer(build: Callable[[Config], Config], config: Config) -> Answer:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = build(copy.deepcopy(config))
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"[:300], "written": None}
    return {"refused": None, "written": written}


def _compressed_tensors(config: Config) -> Config:
    from compressed_tensors.quantization import QuantizationConfig

    written: Config = json.loads(QuantizationConfig.model_validate(config).model_dump_json())
    return written


def _quark(config: Config) -> Config:
    """As transformers reads it: the classes for the quantization and for the export block."""
    from quark.torch.export.config.config import JsonExporterConfig
    from quark.torch.quantization.config.config import QConfig

    if "export" in config:
        JsonExporterConfig(**config["export"])
    written: Config = json.loads(json.dumps(QConfig.from_dict(config).to_dict()))
    return written


if __name__ == "__main__":
    main(examine)
