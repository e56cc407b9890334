"""Which products SGLang takes for linear layers on hardware that is not there: its own layers, up to the first product.

A folder holds ``question.json`` as for :mod:`.vllm_kernels`. The answer has, for each scheme, the function that
multiplies first, or what was raised. Flags are set where SGLang's modules are imported, so each folder is looked at in
a process of its own.

Played: what torch says of the hardware. Quantizers give numbers of the right shapes; nothing is computed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import scheme_configs, sglang_stand_ins
from .common import Answer, main

ROWS, COLUMNS, TOKENS = 512, 256, 4
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TORCHDYNAMO_DISABLE": "1"}


class _Reached(Exception):
    """A product was asked for."""


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    question = json.loads((folder / "question.json").read_text(encoding="utf-8"))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8") as out:
            json.dump(_asked(question), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answers:
        text = answers.read()
    os.waitpid(child, 0)
    answer: Answer = json.loads(text)
    return answer


def _asked(question: Mapping[str, Any]) -> Answer:
    try:
        _play(question["gpu"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kernels": []}
    return {"error": None, "kernels": [_kernel(scheme) for scheme in question["schemes"]]}


def _kernel(scheme: Mapping[str, Any]) -> str:
    try:
        return _linear(scheme)
    except _Reached as reached:
        return str(reached)
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]


def _play(gpu: str) -> None:
    """Say what torch says of the hardware, before anything of SGLang looks at it."""
    amd = gpu.startswith("gfx")
    if amd:
        sglang_stand_ins.ABSENT |= {"aiter"}
    sglang_stand_ins.install()
    import torch

    if gpu != "cpu":
        capability = {"gfx942": (9, 4), "gfx950": (9, 5)}.get(gpu) or divmod(int(gpu.removeprefix("sm_")), 10)
        torch.cuda.is_available = lambda: True
        torch.cuda.is_initialized = lambda: True
        torch.cuda.get_device_name = lambda *given: gpu
        torch.cuda.get_device_capability = lambda *given: capability
        torch.cuda.get_device_properties = lambda *given: SimpleNamespace(gcnArchName=gpu, multi_processor_count=1)
        torch.version.hip, torch.version.cuda = ("6.4", None) if amd else (None, "12.8")
    from sglang.srt.layers.quantization import fp8_utils, marlin_utils_fp8

    for name in ("fp8_scaled_mm", "triton_scaled_mm", "_apply_fallback_scaled_mm", "flashinfer_bmm_fp8"):
        setattr(fp8_utils, name, _reaching(name))
    torch._scaled_mm = _reaching("torch._scaled_mm")
    marlin_utils_fp8.apply_fp8_marlin_linear = _reaching("marlin")
    fp8_utils.static_quant_fp8 = lambda x, scale, repeat_scale=False: (_codes(x), _rows(x) if repeat_scale else scale)
    fp8_utils.sglang_per_token_quant_fp8 = lambda x, *more: (_codes(x), _rows(x))
    fp8_utils.per_token_group_quant_fp8 = lambda x, **more: (_codes(x), _rows(x))
    fp8_utils.scaled_fp8_quant = _scaled_fp8_quant
    fp8_utils.get_exec = lambda: _Any()
    fp8_utils.get_w8a8_channelwise_fp8_config = lambda **sizes: None
    fp8_utils.initialize_fp8_gemm_config()


class _Any:
    """Settings of which every one is as nobody chose it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return "auto" if name == "fp8_gemm_runner_backend" else _Any()


def _reaching(name: str) -> Callable[..., Any]:
    def reach(*given: Any, **named: Any) -> Any:
        raise _Reached(name)

    return reach


def _codes(x: Any) -> Any:
    import torch

    return torch.zeros(x.shape, dtype=torch.float8_e4m3fn)


def _rows(x: Any) -> Any:
    import torch

    return torch.ones(x.shape[0], 1)


def _scaled_fp8_quant(x: Any, scale: Any = None, use_per_token_if_dynamic: bool = False, **more: Any) -> Any:
    import torch

    if scale is not None:
        return _codes(x), scale
    return _codes(x), _rows(x) if use_per_token_if_dynamic else torch.ones(1)


def _quantized(scheme: Mapping[str, Any]) -> Any:
    import torch

    config = _CONFIGS[scheme["format"]](scheme)
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        if major * 10 + minor < config.get_min_capability():
            raise ValueError(f"Minimum capability: {config.get_min_capability()}")
    return config


def _compressed_tensors(scheme: Mapping[str, Any]) -> Any:
    from sglang.srt.layers.quantization.compressed_tensors.compressed_tensors import CompressedTensorsConfig

    return CompressedTensorsConfig.from_config(scheme_configs.compressed_tensors(scheme))


def _fp8(scheme: Mapping[str, Any]) -> Any:
    from sglang.srt.layers.quantization.fp8 import Fp8Config

    return Fp8Config.from_config(scheme_configs.fp8(scheme))


def _quark(scheme: Mapping[str, Any]) -> Any:
    from sglang.srt.layers.quantization.quark.quark import QuarkConfig

    return QuarkConfig.from_config({"packed_modules_mapping": {}, **scheme_configs.quark(scheme)})


def _modelopt(scheme: Mapping[str, Any]) -> Any:
    from sglang.srt.layers.quantization.modelopt_quant import ModelOptFp8Config

    return ModelOptFp8Config.from_config({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": []})


_CONFIGS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "compressed-tensors": _compressed_tensors,
    "fp8": _fp8,
    "fp8-block": _fp8,
    "quark": _quark,
    "modelopt": _modelopt,
}


def _linear(scheme: Mapping[str, Any]) -> str:
    import torch
    from sglang.srt.layers import linear

    config = _quantized(scheme)
    layer = linear.ReplicatedLinear.__new__(linear.ReplicatedLinear)
    torch.nn.Module.__init__(layer)
    name = "model.layers.0.mlp.down_proj"
    layer.prefix = name
    config.packed_modules_mapping = {}
    method = config.get_quant_method(layer, name)
    layer.deepgemm_mxfp8_input = False
    method.create_weights(
        layer,
        input_size_per_partition=COLUMNS,
        output_partition_sizes=[ROWS],
        input_size=COLUMNS,
        output_size=ROWS,
        params_dtype=torch.bfloat16,
        weight_loader=lambda *given, **named: None,
    )
    for owner in (method, getattr(layer, "scheme", None)):
        block = getattr(owner, "w8a8_block_fp8_linear", None)
        if block is not None and scheme["weights"] == "per-block":
            marlin = getattr(owner, "use_marlin", False)
            return "marlin" if marlin else str(getattr(block, "func", block).__name__)
    for _, parameter in layer.named_parameters():
        parameter.data.fill_(1.0) if parameter.dtype != torch.float8_e4m3fn else None
    _as_one(sys.modules)
    method.process_weights_after_loading(layer)
    method.apply(layer, torch.zeros(TOKENS, COLUMNS, dtype=torch.bfloat16))
    raise RuntimeError(f"no product in {type(method).__name__}")


def _as_one(modules: Mapping[str, Any]) -> None:
    """In every module that took them: what needs a GPU and decides nothing, and products of other modules."""
    import torch
    from sglang.srt.layers.quantization import marlin_utils_fp8

    def with_largest(weight: Any, weight_scale: Any, logical_widths: Any) -> Any:
        return weight_scale.max(), weight

    for name, module in list(modules.items()):
        if name.startswith("sglang.srt.layers.quantization") and module is not None:
            for function, replacement in (
                ("requantize_with_max_scale", with_largest),
                ("prepare_fp8_layer_for_marlin", lambda layer, *given, **named: setattr(layer, "workspace", None)),
                ("apply_fp8_marlin_linear", marlin_utils_fp8.apply_fp8_marlin_linear),
            ):
                if function in vars(module):
                    setattr(module, function, replacement)
    torch.ops.sglang.apply_fp8_marlin_linear = marlin_utils_fp8.apply_fp8_marlin_linear


if __name__ == "__main__":
    main(examine)
