"""Checkpoints that must not leave, and a sound one."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.damage import CT, REAL, SHARD, Damage, MutableCheckpoint, load

SOUND = REAL / CT


def cut_shard(checkpoint: MutableCheckpoint) -> None:
    """A download or a copy that broke off."""
    checkpoint.files[SHARD] = checkpoint.to_files()[SHARD][:-1000]


def infinite_scale(checkpoint: MutableCheckpoint) -> None:
    """A weight scale becomes infinity: sound headers, no engine complains, garbage comes out."""
    checkpoint.change(
        r"model\.layers\.0\.mlp\.down_proj\.weight_scale", lambda t: t._replace(data=b"\x80\x7f" + t.data[2:])
    )


def no_quantization_config(checkpoint: MutableCheckpoint) -> None:
    """FP8 weights that nothing declares."""
    del checkpoint.config["quantization_config"]


BREAKS: tuple[Damage, ...] = (cut_shard, infinite_scale, no_quantization_config)


def broken_copy(target: Path, how: Damage = infinite_scale) -> Path:
    """A copy of the sound checkpoint, broken."""
    checkpoint = load(CT)
    how(checkpoint)
    return checkpoint.write(target)


def sound_copy(target: Path) -> Path:
    """A copy of the sound checkpoint that may be changed."""
    shutil.copytree(SOUND, target)
    return target
