"""The script that people write: load_file, rename and reshape, save_file; shard by shard.

Run with an interpreter that has torch and safetensors: ``python load_and_save.py SOURCE DESTINATION ct|quark``. The
config is copied as it is: writing another takes no time that could be measured.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def to_compressed_tensors(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The name and the shape that compressed-tensors gives to a tensor of a native Quark export."""
    for projection, scale in (("k_proj", "k_scale"), ("v_proj", "v_scale")):
        name = name.replace(f"{projection}.output_scale", scale)
    return name, tensor.reshape(1) if name.endswith("_scale") else tensor


def to_quark(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The name and the shape that Quark gives to a tensor of a per-channel compressed-tensors export."""
    return name, tensor.reshape(-1) if name.endswith("weight_scale") else tensor


def main() -> None:
    source, destination = Path(sys.argv[1]), Path(sys.argv[2])
    change = {"ct": to_compressed_tensors, "quark": to_quark}[sys.argv[3]]
    destination.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix == ".safetensors":
            tensors = dict(change(name, tensor) for name, tensor in load_file(path).items())
            save_file(tensors, destination / path.name, metadata={"format": "pt"})
        else:
            shutil.copyfile(path, destination / path.name)


if __name__ == "__main__":
    main()
