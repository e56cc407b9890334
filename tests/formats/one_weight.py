"""A folder of one FP8 weight, for configs of formats that may have a file of their own beside config.json."""

from __future__ import annotations

import json
from typing import Any

from ckptkit.formats.modelopt.facts import SIDE_FILE
from ckptkit.storage.container import Container, open_container
from tests.formats.synthetic import f32
from tests.raw import MemorySource, RawTensor, checkpoint_files

#: How errors begin that say what of a config is not understood.
NOT_UNDERSTOOD = "FormatError: LABEL: the quantization config cannot be understood"
UP = "model.layers.0.mlp.up_proj"
#: One FP8 weight with a scale for all of it.
TENSORS = {f"{UP}.weight": RawTensor("F8_E4M3", (2, 2), b"8888"), f"{UP}.weight_scale": f32()}


def folder(block: Any, side: Any = None, tensors: dict[str, RawTensor] = TENSORS, **config: Any) -> Container:
    """A folder in memory with this quantization config, and this ``quantization`` in ModelOpt's own file."""
    declared = {} if block is None else {"quantization_config": block}
    contents = checkpoint_files({"model.safetensors": tensors}, {**config, **declared})
    if side is not None:
        contents = {**contents, SIDE_FILE: json.dumps({"quantization": side}).encode()}
    return open_container(MemorySource(contents))
