"""vLLM: what becomes of a checkpoint, as far as weights: refused, or loaded with which parameters wrong.

Every parameter is filled with NaN before weights are loaded, so that what the checkpoint did not set is seen. Weights
are then multiplied by their scales, as the kernels would, and compared with those that vLLM has of the checkpoint that
was meant, without quantization. Options: ``keep`` (folder -> file for the parameters), ``against`` (folder -> the files
of the plain model and of the quantized one that was meant), ``kv_cache_dtype``.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance, vllm_load
from .common import Answer, describe_error, main, stage
from .patience import patient

#: Rounding to BF16 is 0.4 %; what is further away is another number.
TOLERANCE = 0.02
SHOWN = 4
#: What need not be stored: its first value stands for that.
_MAY_BE_ABSENT = tuple(f".{attn}.{part}_scale" for attn in ("attn", "attn_mqa", "attn_mha") for part in "kv")
_WEIGHTS = ("weight", "w13_weight", "w2_weight")


class _Warnings(logging.Handler):
    """Collects what vLLM warns about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage()[:160])


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    engine = {**vllm_load.ENGINE, "model": str(folder), "kv_cache_dtype": options.get("kv_cache_dtype", "auto")}
    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.model_executor.model_loader.utils import process_weights_after_loading
    from vllm.utils.torch_utils import set_default_torch_dtype

    warnings = _Warnings()
    logging.getLogger("vllm").handlers = [h for h in logging.getLogger("vllm").handlers if type(h) is not _Warnings]
    logging.getLogger("vllm").addHandler(warnings)
    with stage("config"):
        config = EngineArgs(**engine).create_engine_config()
    device = torch.device("cpu")
    answer: Answer = {"quantization": config.model_config.quantization}
    dtype = set_default_torch_dtype(config.model_config.dtype)
    with set_current_vllm_config(config), vllm_load._one_process(), dtype, device:
        with stage("create"):
            loader = get_model_loader(config.load_config)
            model = loader.create_model(config, config.model_config)
        first = _fill(model)
        with stage("load"):
            loader.load_weights(model, config.model_config)
        answer["unset"] = _unset(model, first)
        weights, others = _numbers(model)
        answer["schemes"] = sorted(set(vllm_load._schemes(model).values()))
        try:
            process_weights_after_loading(model, config.model_config, device)
        except Exception as error:
            answer["error"] = {**describe_error(error), "stage": "process"}
        else:
            others |= _attention(model)
    if keep is not None:
        distance.keep(keep, {**weights, **others})
    plain = distance.kept(against.get("plain"))
    answer["absent"] = sorted(name for name in plain if name.endswith(".weight") and name not in weights)
    answer["differs"] = {
        **_apart(weights, plain),
        **_apart(others, distance.kept(against.get("meant"))),
    }
    answer["warnings"] = warnings.messages[:SHOWN]
    return answer


def _parameters(model: Any) -> dict[str, Any]:
    """Parameters of numbers outside attention layers, which keep their scales otherwise."""
    attention = tuple(f"{name}." for name in vllm_load._attention_layers(model))
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(attention) and parameter.is_floating_point() and parameter.numel()
    }


def _fill(model: Any) -> dict[str, Any]:
    """Put NaN everywhere, and give what was there."""
    import torch

    first = {}
    for name, parameter in _parameters(model).items():
        if name.endswith(_MAY_BE_ABSENT):
            continue
        first[name] = parameter.data.clone()
        if parameter.element_size() == 1:
            parameter.data.view(torch.uint8).fill_(0x7F)
        else:
            parameter.data.fill_(float("nan"))
    return first


def _unset(model: Any, first: Mapping[str, Any]) -> list[str]:
    """Parameters that the checkpoint did not fill, or filled with NaN; they get back what was there."""
    import torch

    found = []
    for name, parameter in _parameters(model).items():
        empty = torch.isnan(parameter.data.float())
        if bool(empty.any()) and name in first and first[name].shape == parameter.shape:
            found.append(name)
            if parameter.element_size() == 1:
                parameter.data.view(torch.uint8)[empty] = first[name].view(torch.uint8)[empty]
            else:
                parameter.data[empty] = first[name][empty]
    return found


def _numbers(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every weight times its scale, and every other parameter, as float32."""
    parameters = _parameters(model)
    scales = dict(model.named_parameters())  # exponents are no floating point
    modules = dict(model.named_modules())
    weights, others = {}, {}
    for name, parameter in parameters.items():
        owner, _, last = name.rpartition(".")
        if last in _WEIGHTS and parameter.element_size() == 1:
            scale = next((scales[s] for s in (f"{name}_scale", f"{name}_scale_inv") if s in scales), None)
            if scale is not None:
                value = _scaled(
                    parameter.data.float(),
                    _values(scale.data),
                    _widths(modules[owner], last, parameter),
                    _tile(modules[owner]),
                )
                weights[name] = value.numpy()
        elif "scale" in last and "weight" in last:
            continue
        elif "scale" in last:
            others[name] = parameter.data.float().numpy()
        else:
            weights[name] = parameter.data.float().numpy()
    return weights, others


def _widths(module: Any, last: str, parameter: Any) -> list[int]:
    """The rows of the parts that a layer is fused of."""
    if last == "w13_weight":
        return [parameter.shape[1] // 2] * 2
    return list(getattr(module, "logical_widths", None) or [parameter.shape[-2]])


def _values(scale: Any) -> Any:
    """Scales as numbers; bytes are exponents."""
    import torch

    return torch.exp2(scale.float() - 127) if scale.dtype == torch.uint8 else scale.float()


def _tile(module: Any) -> tuple[int, int]:
    """The rows and columns of a block of scales, from wherever an engine keeps them."""
    method = getattr(module, "quant_method", None)
    for owner in (module, getattr(module, "scheme", None), method, getattr(method, "quant_config", None)):
        size = getattr(owner, "weight_block_size", None)
        if size:
            return int(size[0]), int(size[1])
    return 128, 128


def _scaled(weight: Any, scale: Any, widths: list[int], tile: tuple[int, int]) -> Any:
    """A weight times its scale: of each part, each row, group or tile; of each expert where there are several."""
    import torch

    if weight.ndim == 3:
        return torch.stack([_scaled(w, s, widths, tile) for w, s in zip(weight, scale, strict=True)])
    rows, columns = weight.shape
    if scale.numel() == 1:
        return weight * scale.reshape(())
    if scale.numel() == rows:
        return weight * scale.reshape(-1, 1)
    if scale.numel() == len(widths):
        return weight * scale.reshape(-1).repeat_interleave(torch.tensor(widths), 0)[:rows].reshape(-1, 1)
    if scale.ndim == 4:
        scale = scale.reshape(scale.shape[0], scale.shape[2])
    if scale.shape[0] == rows:
        return weight * scale.repeat_interleave(columns // scale.shape[1], 1)
    wide = scale.repeat_interleave(tile[1], 1)[:, :columns]
    tall = []
    start = 0
    for width in widths:
        count = -(-width // tile[0])
        tall.append(wide[start : start + count].repeat_interleave(tile[0], 0)[:width])
        start += count
    return weight * torch.cat(tall)


def _attention(model: Any) -> dict[str, Any]:
    """The scales of each FP8 KV cache."""
    import numpy

    return {
        f"{name}.{key}_scale": numpy.asarray(scales[key], dtype="float32")
        for name, scales in vllm_load._attention(model).items()
        if str(scales["kv_cache_dtype"]).startswith("fp8")
        for key in ("k", "v")
    }


def _apart(found: Mapping[str, Any], meant: Mapping[str, Any]) -> dict[str, float]:
    """What differs, and by how much (capped, so that it can be written as JSON)."""
    apart = {name: distance.furthest(found[name], meant[name]) for name in found if name in meant}
    return {name: min(round(size, 3), 1e9) for name, size in apart.items() if size > TOLERANCE}


def _prepare() -> None:
    vllm_load._prepare()
    gc.freeze()


if __name__ == "__main__":
    main(patient(examine), _prepare)
