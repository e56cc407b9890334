"""Checkpoints made up for tests of configs: any names, any schemes, weights of four bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from ckptkit.formats.reading import open_checkpoint
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import open_container
from tests.raw import MemorySource, RawTensor, checkpoint_files

ONE = struct.pack("<f", 1.0)


def args(strategy: str, *, dynamic: bool = False, **more: Any) -> dict[str, Any]:
    return {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": dynamic, **more}


#: Schemes by name, as compressed-tensors groups without targets.
GROUPS: Mapping[str, Mapping[str, Any]] = {
    "channel": {"weights": args("channel"), "input_activations": args("token", dynamic=True)},
    "tensor": {"weights": args("tensor"), "input_activations": args("tensor")},
    "loose": {"weights": args("tensor"), "input_activations": args("token", dynamic=True)},
}


def f32(*shape: int, value: bytes = ONE) -> RawTensor:
    count = 1
    for extent in shape:
        count *= extent
    return RawTensor("F32", shape, value * count)


def files(schemes: Mapping[str, str | None], *, kv: bool = False, q: bool = False) -> dict[str, bytes]:
    """A compressed-tensors folder in which every module is targeted by its exact name."""
    tensors: dict[str, RawTensor] = {"model.embed_tokens.weight": RawTensor("BF16", (2, 2), bytes(8))}
    for module, scheme in schemes.items():
        dtype, size = ("BF16", 8) if scheme is None else ("F8_E4M3", 4)
        tensors[f"{module}.weight"] = RawTensor(dtype, (2, 2), b"\x38" * size)
        if scheme is not None:
            tensors[f"{module}.weight_scale"] = f32(2, 1) if scheme == "channel" else f32(1)
        if scheme == "tensor":
            tensors[f"{module}.input_scale"] = f32(1)
        owner, _, last = module.rpartition(".")
        if kv and last in ("k_proj", "v_proj"):
            tensors[f"{owner}.{last[0]}_scale"] = f32(1)
        if q and last == "q_proj":
            tensors[f"{owner}.q_scale"] = f32(1)
    groups = {
        f"group_{name}": {**group, "targets": [module for module, scheme in schemes.items() if scheme == name]}
        for name, group in GROUPS.items()
        if name in schemes.values()
    }
    block = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": [module for module, scheme in schemes.items() if scheme is None],
        "kv_cache_scheme": args("tensor") if kv else None,
    }
    return checkpoint_files({"model.safetensors": tensors}, {"quantization_config": block})


def read(contents: Mapping[str, bytes]) -> Checkpoint:
    """Read a folder that exists in memory only."""
    container = open_container(MemorySource(contents))
    return open_checkpoint(container).checkpoint


def reconfigured(contents: Mapping[str, bytes], block: Mapping[str, Any]) -> dict[str, bytes]:
    """The same files with another quantization config."""
    config = json.loads(contents["config.json"])
    return {**contents, "config.json": json.dumps({**config, "quantization_config": dict(block)}).encode()}
