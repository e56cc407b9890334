"""amd-quark: reload a folder with its own importer and report each module it considers quantized.

Covers both of Quark's dialects, ``quant_method: quark`` and its ``custom_mode="fp8"``, which transformers does not
read as Quark. The importer ignores unknown tensors (``strict=False``), so what it left over is reported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, describe_error, describe_tensor, main, run_prompt

#: The quantizers of a ``QParamsLinear``, by role.
ROLES = ("weight", "input", "output", "bias")


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch
    from quark.torch import import_model_from_safetensors
    from quark.torch.export.nn.modules.qparamslinear import QParamsLinear
    from quark.torch.quantization.nn.modules.quantize_linear import QuantLinear
    from quark.torch.utils.llm.model_preparation import create_model_skeleton

    model = create_model_skeleton(str(folder))
    unused, _ = watched(model)
    model = import_model_from_safetensors(model, str(folder)).eval()
    with torch.no_grad():
        modules = {
            name: _describe_linear(module, model.dtype)
            for name, module in model.named_modules()
            if isinstance(module, QParamsLinear | QuantLinear)
        }
    return {"modules": modules, "unused_tensors": unused, **run_prompt(model)}


def watched(model: Any) -> tuple[list[str], list[str]]:
    """Watch the importer's ``load_state_dict`` call, the only place where it is known which tensors are left over, and
    which parameters: both lists are filled then."""
    unused: list[str] = []
    unset: list[str] = []
    load = model.load_state_dict

    def load_state_dict(*args: Any, **kwargs: Any) -> Any:
        result = load(*args, **kwargs)
        unused.extend(sorted(result.unexpected_keys))
        unset.extend(sorted(result.missing_keys))
        return result

    model.load_state_dict = load_state_dict
    return unused, unset


def _describe_linear(module: Any, dtype: Any) -> Answer:
    """The class, the stored weight, every scale, and the weight as the forward pass uses it.

    Quark multiplies in float32 and rounds to the model's dtype, which gives the same values as other libraries'
    multiplication in bf16: a product of an FP8 code and a bf16 scale is exact in float32.
    """
    answer: Answer = {"class": type(module).__name__, "weight": describe_tensor(module.weight), "scales": {}}
    for role in ROLES:
        quantizer = getattr(module, f"{role}_quantizer", None)
        if quantizer is None:
            continue
        scale = getattr(quantizer, "scale", None)
        answer["scales"][role] = "dynamic" if scale is None else describe_tensor(scale)
    if hasattr(module, "_get_qweight"):
        try:
            answer["dequantized"] = describe_tensor(module._get_qweight(module.weight).to(dtype))
        except Exception as error:  # ragged blocks, for one
            answer["dequantized"] = {"error": describe_error(error)}
    return answer


if __name__ == "__main__":
    main(examine)
