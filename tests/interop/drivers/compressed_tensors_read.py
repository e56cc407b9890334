"""compressed-tensors: which modules its own matcher quantizes, and what its compressor makes of their weights.

The model is built on the meta device from ``config.json`` alone, so names and classes are the real ones and no
weight is read through transformers. Modules that the files hold but this transformers version fuses (experts)
are matched as plain linears of that name: that is how they were quantized.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, describe_error, describe_tensor, main, read_config

NUMERIC_ARGUMENTS = ("num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic")


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    document = read_config(folder)["quantization_config"]
    config = QuantizationConfig.model_validate(document)
    model = meta_model(folder)
    apply_quantization_config(model, config)
    schemes = {
        name: module.quantization_scheme
        for name, module in model.named_modules()
        if getattr(module, "quantization_scheme", None) is not None
    }
    tensors = tensors_by_module(folder)
    fused_away = [name for name in tensors if name not in dict(model.named_modules())]
    schemes |= match_fused_away(fused_away, tensors, config)
    base = options.get("base")
    return {
        "errors": {} if base is None else _errors(tensors, schemes, config.format, tensors_by_module(Path(base))),
        "schemes": {name: _scheme(scheme) for name, scheme in schemes.items()},
        "weights": {
            name: _decompress(tensors.get(name, {}), scheme, config.format)
            for name, scheme in schemes.items()
            if scheme.weights is not None
        },
        "modules_not_in_model": sorted(fused_away),
        "kv_cache_scheme": document.get("kv_cache_scheme"),
        "kv_scales": {
            f"{name}.{local}": describe_tensor(tensor)
            for name, local_tensors in tensors.items()
            for local, tensor in local_tensors.items()
            if local in {"k_scale", "v_scale", "q_scale"}
        },
    }


def meta_model(folder: Path) -> Any:
    """The model of a folder without its weights and without its quantization."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def tensors_by_module(folder: Path) -> dict[str, dict[str, Any]]:
    """Every tensor of every shard, as ``{module: {local name: tensor}}``."""
    from safetensors.torch import load_file

    modules: dict[str, dict[str, Any]] = defaultdict(dict)
    for shard in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(shard).items():
            module, _, local = name.rpartition(".")
            modules[module][local] = tensor
    return dict(modules)


def match_fused_away(names: list[str], tensors: Mapping[str, Mapping[str, Any]], config: Any) -> dict[str, Any]:
    """The schemes of modules that exist in the files only, found by the library's matcher on a stand-in linear."""
    import torch
    from compressed_tensors.utils.match import is_match

    schemes = {}
    for name in names:
        weight = tensors[name].get("weight")
        if weight is None or weight.ndim != 2:
            continue
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        for scheme in config.config_groups.values():
            if is_match(name, linear, scheme.targets, config.ignore):
                schemes[name] = scheme
                break
    return schemes


def _scheme(scheme: Any) -> Answer:
    """What a scheme says about numbers, role by role, without what only matters while quantizing."""
    dumped = scheme.model_dump(mode="json")
    return {
        role: {key: dumped[role][key] for key in NUMERIC_ARGUMENTS if dumped[role].get(key) is not None}
        for role in ("weights", "input_activations", "output_activations")
        if dumped.get(role) is not None
    }


def _decompress(state: Mapping[str, Any], scheme: Any, default_format: Any) -> Answer:
    """The dequantized weight of one module; a module that lacks tensors is described, not fatal."""
    try:
        return describe_tensor(_compressor(scheme, default_format).decompress(dict(state), scheme)["weight"])
    except Exception as error:
        return {"error": describe_error(error)}


def _compressor(scheme: Any, default_format: Any) -> Any:
    from compressed_tensors.compressors import BaseCompressor

    name = scheme.format or default_format
    return BaseCompressor.get_value_from_registry(getattr(name, "value", name))


def _errors(
    tensors: Mapping[str, Mapping[str, Any]],
    schemes: Mapping[str, Any],
    default_format: Any,
    base: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """How far each weight is from a base's, in float64; it is decompressed to float32, whatever its scale's type."""
    import torch

    found = {}
    for name, scheme in schemes.items():
        state = {key: value.float() if key == "weight_scale" else value for key, value in tensors[name].items()}
        weight = _compressor(scheme, default_format).decompress(state, scheme)["weight"]
        if weight.dtype != torch.float32:
            raise TypeError(f"{name} was decompressed to {weight.dtype}")
        reference, result = base[name]["weight"].double(), weight.double()
        off = result - reference
        place = int(off.abs().argmax())
        found[name] = {
            "relative_error": (torch.linalg.norm(off) / torch.linalg.norm(reference)).item(),
            "snr_db": (10 * torch.log10(reference.square().sum() / off.square().sum())).item(),
            "place": [int(n) for n in torch.unravel_index(torch.tensor(place), off.shape)],
            "absolute": off.abs().max().item(),
            "equal": int((reference == result).sum()),
            "saturated": int((tensors[name]["weight"].float().abs() == 448).sum()),
            "zero_rows": int((result == 0).all(dim=1).sum()),
        }
    return found


if __name__ == "__main__":
    main(examine)
