"""Checkpoints that must not leave, and how to break a sound one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.hub.conftest import REAL

SOUND = REAL / "llama" / "llmcompressor-dynamic"


def cut_shard(folder: Path) -> None:
    """A download or a copy that broke off."""
    shard = next(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1000])


def infinite_scale(folder: Path) -> None:
    """The first weight scale becomes infinity: sound headers, no engine complains, garbage comes out."""
    import struct

    shard = next(folder.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    info = next(info for name, info in header.items() if name.endswith("weight_scale"))
    begin = 8 + length + info["data_offsets"][0]
    data[begin : begin + 2] = b"\x80\x7f"
    shard.write_bytes(data)


def no_quantization_config(folder: Path) -> None:
    """FP8 weights that nothing declares."""
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))


BREAKS: tuple[Callable[[Path], None], ...] = (cut_shard, infinite_scale, no_quantization_config)


def broken_copy(target: Path, how: Callable[[Path], None] = infinite_scale) -> Path:
    """A copy of a sound checkpoint, broken."""
    how(sound_copy(target))
    return target


def sound_copy(target: Path) -> Path:
    """A copy of a sound checkpoint that may be changed."""
    shutil.copytree(SOUND, target)
    return target
