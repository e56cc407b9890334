"""The real configuration classes: which configs they can be built from, and what they write back.

A folder holds ``configs.json``, a list of quantization configs. The answer has one entry for each: ``refused`` says
why the class would not take it, ``written`` is what the class makes of it. Of an engine's class that is its name.

Option: ``library``, whose class is meant: ``compressed-tensors``, ``quark``, ``transformers``, ``vllm`` or ``sglang``.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .common import Answer, main

Config = dict[str, Any]


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    build = LIBRARIES[options["library"]]
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


def _transformers(config: Config) -> Config:
    from transformers.quantizers.auto import AutoQuantizationConfig

    return {"class": type(AutoQuantizationConfig.from_dict(config)).__name__}


def _vllm(config: Config) -> Config:
    from vllm.model_executor.layers import quantization

    return _engine(quantization.QUANTIZATION_METHODS, quantization.get_quantization_config, config)


def _sglang(config: Config) -> Config:
    from . import sglang_stand_ins

    if not any(isinstance(finder, sglang_stand_ins._Finder) for finder in sys.meta_path):
        sglang_stand_ins.install()
    from sglang.srt.layers import quantization

    config.setdefault("packed_modules_mapping", {})  # its loader puts it there
    return _engine(quantization.QUANTIZATION_METHODS, quantization.get_quantization_config, config)


def _engine(methods: Iterable[str], class_of: Callable[[str], Any], config: Config) -> Config:
    """As both engines do it: the class of the config's method, unless another one claims the config."""
    method = config["quant_method"].lower()
    for other in methods:
        if class_of(other).override_quantization_method(config, None) is not None:
            method = other
            break
    built = class_of(method).from_config(config)
    return {"class": type(built).__name__}


LIBRARIES: Mapping[str, Callable[[Config], Config]] = {
    "compressed-tensors": _compressed_tensors,
    "quark": _quark,
    "transformers": _transformers,
    "vllm": _vllm,
    "sglang": _sglang,
}


if __name__ == "__main__":
    main(examine)
