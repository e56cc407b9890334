"""Which kernels vLLM chooses on hardware that is not there: its own choosers, under a platform that plays it.

A folder holds ``question.json``: ``gpu`` (a capability: sm_90, gfx942, cpu) and ``schemes``, each with ``layer``
("linear", "experts"), ``format``, ``weights`` and ``inputs`` as the tables of engines name them, or ``other``, the name
of a quantization other than FP8. The answer has, for each, the class of the kernel, or what was raised. A platform is
chosen once per process, so each folder is looked at in a process of its own.

Played: the platform's kind and capability; FlashInfer and DeepGEMM, which come with the CUDA wheel; and what compiled
parts answer about themselves, as ``csrc/stable/quantization/w8a8/cutlass/scaled_mm_entry.cu`` says. Nothing is
computed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import scheme_configs
from .common import Answer, main

ROWS, COLUMNS = 512, 256
#: Modules that are compiled for the hardware: imported, and not asked anything.
COMPILED = (
    *("vllm._C", "vllm._moe_C", "vllm._rocm_C", "vllm._C_stable_libtorch", "vllm._moe_C_stable_libtorch"),
    *("vllm.vllm_flash_attn", "vllm.vllm_flash_attn.flash_attn_interface"),
)


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
        if scheme["other"]:
            return _other(scheme["other"])
        return _experts(scheme) if scheme["layer"] == "experts" else _linear(scheme)
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]


def _play(gpu: str) -> None:
    """Put the platform in place before anything of vLLM looks at it, then the rest of what is played."""
    import torch

    if gpu.startswith("gfx"):
        torch.cuda.get_device_properties = lambda *given: SimpleNamespace(gcnArchName=gpu)
    for name in COMPILED if gpu != "cpu" else ():
        module = types.ModuleType(name)
        module.__getattr__ = _nothing  # type: ignore[method-assign]
        module.__path__ = []
        sys.modules.setdefault(name, module)
    import vllm.platforms

    if gpu != "cpu":
        vllm.platforms._current_platform = _platform(gpu)
    from vllm import _custom_ops as ops

    if gpu.startswith("sm_"):
        capability = _number(gpu)
        ops.cutlass_scaled_mm_supports_fp8 = lambda asked: capability >= 89
        ops.cutlass_scaled_mm_supports_block_fp8 = lambda asked: capability >= 90
        ops.cutlass_scaled_mm_supports_fp4 = lambda asked: capability >= 100
        ops.cutlass_group_gemm_supported = lambda asked: capability >= 90
        from vllm.utils import flashinfer, import_utils

        import_utils.has_deep_gemm = lambda: True
        for name in vars(flashinfer).copy():
            if name.startswith("has_flashinfer"):
                setattr(flashinfer, name, lambda *given: True)
    like = _Off(model_type="llama")
    import vllm.config.vllm as settings

    settings._current_vllm_config = _Off(
        model_config=_Off(dtype=torch.bfloat16, hf_text_config=like, hf_config=like),
        kernel_config=_Off(linear_backend="auto", linear_backend_per_quant=None),
        compilation_config=_Off(
            mode=0, custom_ops=["none"], enabled_custom_ops=Counter(), disabled_custom_ops=Counter()
        ),
    )
    torch.set_default_dtype(torch.bfloat16)
    from vllm.distributed import parallel_state

    parallel_state._TP = SimpleNamespace(world_size=1, rank_in_group=0)


def _nothing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *given, **named: None


def _number(gpu: str) -> int:
    return {"gfx942": 94, "gfx950": 95}.get(gpu) or int(gpu.removeprefix("sm_"))


def _platform(gpu: str) -> Any:
    """A platform of vLLM's own that says it is this hardware."""
    from vllm.platforms.interface import DeviceCapability

    if gpu.startswith("sm_"):
        module, base = "vllm.platforms.cuda", "CudaPlatformBase"
    else:
        module, base = "vllm.platforms.rocm", "RocmPlatform"
    number = _number(gpu)

    class Played(getattr(importlib.import_module(module), base)):  # type: ignore[misc]
        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(number // 10, number % 10)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return gpu

    return Played()


def _quantized(scheme: Mapping[str, Any]) -> Any:
    """The engine's reading of a config of ours, and the capability that it asks for as a whole."""
    from vllm.platforms import current_platform

    config = _CONFIGS[scheme["format"]](scheme)
    capability = current_platform.get_device_capability()
    if capability is not None and capability.to_int() < config.get_min_capability():
        raise ValueError(f"Minimum capability: {config.get_min_capability()}")
    return config


def _compressed_tensors(scheme: Mapping[str, Any]) -> Any:
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import CompressedTensorsConfig

    return CompressedTensorsConfig.from_config(scheme_configs.compressed_tensors(scheme))


def _fp8(scheme: Mapping[str, Any]) -> Any:
    from vllm.model_executor.layers.quantization.fp8 import Fp8Config

    return Fp8Config.from_config(scheme_configs.fp8(scheme))


def _quark(scheme: Mapping[str, Any]) -> Any:
    from vllm.model_executor.layers.quantization.quark.quark import QuarkConfig

    return QuarkConfig.from_config(scheme_configs.quark(scheme))


def _modelopt(scheme: Mapping[str, Any]) -> Any:
    from vllm.model_executor.layers.quantization.modelopt import ModelOptFp8Config

    algorithm = {"per-tensor": "FP8", "per-channel": "FP8_PER_CHANNEL_PER_TOKEN", "per-block": "FP8_PB_WO"}
    return ModelOptFp8Config.from_config(
        {"quant_method": "modelopt", "quant_algo": algorithm[scheme["weights"]], "ignore": [], "producer": {}}
    )


_CONFIGS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "compressed-tensors": _compressed_tensors,
    "fp8": _fp8,
    "fp8-block": _fp8,
    "quark": _quark,
    "modelopt": _modelopt,
}


def _linear(scheme: Mapping[str, Any]) -> str:
    import torch
    from vllm.model_executor.layers import linear

    config = _quantized(scheme)
    layer = linear.ReplicatedLinear.__new__(linear.ReplicatedLinear)
    torch.nn.Module.__init__(layer)
    name = "model.layers.0.mlp.down_proj"
    layer.prefix = name
    config.packed_modules_mapping = {}
    method = config.get_quant_method(layer, name)
    layer.scheme = getattr(layer, "scheme", None)
    method.create_weights(
        layer,
        input_size_per_partition=COLUMNS,
        output_partition_sizes=[ROWS],
        input_size=COLUMNS,
        output_size=ROWS,
        params_dtype=torch.bfloat16,
        weight_loader=lambda *given, **named: None,
    )
    owners = (method, getattr(layer, "scheme", None), getattr(method, "scheme", None))
    for owner in owners:
        for attribute in ("fp8_linear", "linear_kernel", "kernel"):
            kernel = getattr(owner, attribute, None)
            if kernel is not None:
                return type(kernel).__name__
    raise RuntimeError(f"no kernel in {type(method).__name__}")


def _experts(scheme: Mapping[str, Any]) -> str:
    """The chooser of experts' kernels with the keys that the methods of each format give it."""
    from vllm.model_executor.layers.fused_moe.oracle.fp8 import select_fp8_moe_backend
    from vllm.model_executor.layers.quantization.utils import quant_utils as keys

    _quantized(scheme)
    weights = {
        "per-tensor": keys.kFp8StaticTensorSym,
        "per-channel": keys.kFp8StaticChannelSym,
        "per-block": keys.kFp8Static128BlockSym,
    }[scheme["weights"]]
    inputs = {
        "static per-tensor": keys.kFp8StaticTensorSym,
        "dynamic per-tensor": keys.kFp8DynamicTensorSym,
        "dynamic per-token": keys.kFp8DynamicTokenSym,
        "dynamic per-group": keys.kFp8Dynamic128Sym,
    }[scheme["inputs"]]
    own = scheme["format"] == "compressed-tensors"
    if own and scheme["inputs"] == "dynamic per-tensor":
        inputs = keys.kFp8Dynamic128Sym  # as compressed_tensors_moe_w8a8_fp8.py maps it
    _, kernel = select_fp8_moe_backend(_moe(), weights, inputs, allow_vllm_cutlass=own)
    return "none" if kernel is None else kernel.__name__


def _other(name: str) -> str:
    """The choosers of kernels for linear layers that are not FP8 with one scale."""
    from vllm.model_executor.kernels import linear as kernels

    if name == "MXFP8":
        return type(kernels.init_mxfp8_linear_kernel(weight_shape=(ROWS, COLUMNS))).__name__
    return type(kernels.init_nvfp4_linear_kernel(use_a16=name == "NVFP4A16")).__name__


class _Off(SimpleNamespace):
    """A config in which everything that is not said is off."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return False


def _moe() -> Any:
    from vllm.model_executor.layers.fused_moe.activation import MoEActivation
    from vllm.model_executor.layers.fused_moe.config import RoutingMethodType

    return _Off(
        is_act_and_mul=True,
        activation=MoEActivation.SILU,
        moe_parallel_config=_Off(ep_size=1, tp_size=1, dp_size=1),
        routing_method=RoutingMethodType.Default,
        router_logits_dtype=None,
        hidden_dim=2048,
        intermediate_size_per_partition=768,
        num_experts=8,
        num_local_experts=8,
        experts_per_token=2,
        moe_backend="auto",
        tp_size=1,
        ep_size=1,
    )


if __name__ == "__main__":
    main(examine)
