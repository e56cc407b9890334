"""Checkpoints of plain FP8 formats made of real exports of other tools, and what a test asks of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import ckptkit
from ckptkit.model.granularity import PerBlock, PerGroup
from ckptkit.model.scheme import Quantization, Scheme
from tests.damage import CONFIG, Damage, MutableCheckpoint, load
from tests.raw import RawTensor

convert = partial(ckptkit.convert, fsync=False)
BLOCKS = Scheme(Quantization(PerBlock(128, 128)), Quantization(PerGroup(128), dynamic=True))


def written(fixture: str, damage: Damage, folder: Path) -> Path:
    draft = load(fixture)
    damage(draft)
    return draft.write(folder)


def block_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["quantization_config"]
    return found


def codes(folder: Path) -> set[str]:
    return {finding.code for finding in ckptkit.validate(folder).findings if finding.severity.value != "info"}


def bent(source: Path, folder: Path, **block: Any) -> Path:
    """A copy of a checkpoint with another config; a key of None goes."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    for key, value in block.items():
        config["quantization_config"].pop(key, None)
        if value is not ...:
            config["quantization_config"][key] = value
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


def count(tensor: RawTensor) -> int:
    return tensor.shape[0] * tensor.shape[1]


def groups_of_32(checkpoint: MutableCheckpoint, listed: list[str]) -> None:
    """An export in blocks as one in MXFP8: groups of 32 under one power of two."""
    scales = {}
    for name in checkpoint.names(r".*\.weight_scale"):
        rows, columns = checkpoint.get(name.removesuffix("_scale")).shape
        scales[name] = RawTensor("U8", (rows, columns // 32), bytes([118]) * (rows * columns // 32))
    for name, scale in scales.items():
        checkpoint.drop(name.replace(".", r"\."))
        checkpoint.put(f"{name}_inv", *scale)
    checkpoint.config["quantization_config"] = {
        "quant_method": "mxfp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [1, 32],
        "scale_fmt": "ue8m0",
        "ignored_layers": listed,
    }
