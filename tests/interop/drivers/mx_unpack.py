"""MXFP4 tensors through the unpackers of Quark and of transformers, as BF16 weights by module.

No model is built: what is asked is the order of elements in a byte, the table of values, and what a scale code means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, describe_tensor, main
from .compressed_tensors_read import tensors_by_module


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch

    unpack = {"quark": _quark, "transformers": _transformers}[options["tool"]]
    found = {}
    for name, tensors in tensors_by_module(folder).items():
        weight = tensors.get("weight_packed", tensors.get("weight"))
        if weight is not None and weight.dtype == torch.uint8:
            found[name] = describe_tensor(unpack(weight, tensors["weight_scale"]).contiguous())
        found |= _stacks(name, tensors)
    return {"weights": found}


def _stacks(module: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The experts of a module that stores them in blocks, as transformers gives them to its classes."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    ends = [local.removesuffix("_blocks") for local in tensors if local.endswith("_blocks")]
    return {
        f"{module}.{end}": describe_tensor(
            convert_moe_packed_tensors(tensors[f"{end}_blocks"], tensors[f"{end}_scales"]).contiguous()
        )
        for end in ends
    }


def _quark(weight: Any, scale: Any) -> Any:
    import torch
    from quark.torch.utils.pack import create_pack_method

    values = create_pack_method("per_group", "fp4").unpack(weight, False)
    powers = torch.ldexp(torch.ones(()), scale.to(torch.int32) - 127)
    return (values.reshape(len(weight), -1, 32) * powers[..., None]).reshape(len(weight), -1).to(torch.bfloat16)


def _transformers(weight: Any, scale: Any) -> Any:
    """Blocks [experts, rows, groups, 16] come back as [experts, columns, rows]."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks = weight.reshape(1, len(weight), -1, 16)
    return convert_moe_packed_tensors(blocks, scale[None])[0].transpose(0, 1)


if __name__ == "__main__":
    main(examine)
