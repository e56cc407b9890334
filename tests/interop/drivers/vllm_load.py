"""vLLM: load a folder with its own model loader, and optionally generate from it.

Loading is split where vLLM splits it. ``loaded`` is each parameter as the checkpoint filled it: fused layers,
one scale per shard, shapes as the dialect's scheme declares them. ``processed`` is what the kernels get: here two
exact conversions of one another must be equal, whatever their dialects; what kernels of some CPUs pack away is as it
was loaded. No engine is started for this, so a folder takes a few tenths of a second; ``{"generate": true}`` also
starts an engine (2 s) and asks for log-probabilities.

Options: ``generate`` (default false), ``kv_cache_dtype`` (default "auto", vLLM's own default).
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import vllm_stand_ins
from .common import Answer, StageError, describe_error, describe_tensor, main, prompt_ids, read_config, stage

#: Settings that keep vLLM small, quiet, in this process, and away from a C++ compiler.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
ENGINE = {
    "max_model_len": 128,
    "enforce_eager": True,
    "dtype": "bfloat16",
    "skip_tokenizer_init": True,
    "kv_cache_memory_bytes": 1 << 24,
}
SCALE_ATTRIBUTES = {"k": "_k_scale", "v": "_v_scale", "q": "_q_scale", "prob": "_prob_scale"}
GENERATED_TOKENS = 8


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    # vLLM collects garbage many times per model, which takes longer than the rest when a million objects of
    # imported modules are searched each time. It also unfreezes them once per engine.
    gc.freeze()
    engine = {**ENGINE, "model": str(folder), "kv_cache_dtype": options.get("kv_cache_dtype", "auto")}
    answer = {"error": None, "stand_ins": list(vllm_stand_ins.NAMES), **_load(engine)}
    if options.get("generate") and answer["error"] is None:
        try:
            answer["generation"] = _generate(engine, prompt_ids(read_config(folder)["vocab_size"]))
        except StageError as error:
            answer["error"] = describe_error(error)
    return answer


def _load(engine: Mapping[str, Any]) -> Answer:
    """Construct, fill and process a model the way ``BaseModelLoader.load_model`` does, looking in between."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.model_executor.model_loader.utils import process_weights_after_loading
    from vllm.utils.torch_utils import set_default_torch_dtype

    with stage("config"):
        config = EngineArgs(**engine).create_engine_config()
    device = torch.device("cpu")
    with set_current_vllm_config(config), _one_process(), set_default_torch_dtype(config.model_config.dtype), device:
        with stage("create"):
            loader = get_model_loader(config.load_config)
            model = loader.create_model(config, config.model_config)
        with stage("load"):
            loader.load_weights(model, config.model_config)
        answer = {
            "quantization": config.model_config.quantization,
            "schemes": _schemes(model),
            "loaded": _weights(model),
            "unset": _unset(model),
        }
        try:
            process_weights_after_loading(model, config.model_config, device)
        except Exception as error:  # still worth comparing: FP8 experts have no CPU kernel without AMX
            return {**answer, "error": {**describe_error(error), "stage": "process"}}
    loaded = answer["loaded"]
    packed = {name: loaded[name] for name, left in model.named_parameters() if not left.numel() and name in loaded}
    return {**answer, "processed": {**packed, **_weights(model)}, "attention": _attention(model)}


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """The distributed state that vLLM's parallel layers ask for, for a world of one."""
    from vllm.distributed.parallel_state import ensure_model_parallel_initialized, init_distributed_environment

    with tempfile.TemporaryDirectory() as folder:
        init_distributed_environment(1, 0, f"file://{folder}/rendezvous", 0, "gloo")
        ensure_model_parallel_initialized(1, 1)
        try:
            yield
        finally:
            _leave_process_groups()


def _leave_process_groups() -> None:
    from vllm.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

    destroy_model_parallel()
    destroy_distributed_environment()


def _attention_layers(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "_k_scale_float")}


def _weights(model: Any) -> Answer:
    """Every parameter outside attention layers, whose scales are reported on their own."""
    attention = tuple(f"{name}." for name in _attention_layers(model))
    return {
        name: describe_tensor(parameter)
        for name, parameter in model.named_parameters()
        if not name.startswith(attention) and parameter.numel()
    }


def _unset(model: Any) -> list[str]:
    """Scales the checkpoint did not fill: vLLM initialises them to the lowest float32 and never checks."""
    import torch

    lowest = torch.finfo(torch.float32).min
    return [
        name
        for name, parameter in model.named_parameters()
        if name.endswith(("_scale", "_scale_inv")) and bool((parameter.float() == lowest).any())
    ]


def _schemes(model: Any) -> dict[str, str]:
    """The quantization method of each layer that has one; for linears, the scheme it chose."""
    schemes = {}
    for name, module in model.named_modules():
        method = getattr(module, "quant_method", None)
        if method is not None:
            chosen = getattr(module, "scheme", None) or method
            schemes[name] = type(chosen).__name__
    return schemes


def _attention(model: Any) -> Answer:
    """The scales each attention layer uses (one, or one per head) and its KV cache dtype (bf16 leaves them idle)."""
    return {
        name: {
            "kv_cache_dtype": module.kv_cache_dtype,
            **{key: getattr(module, attribute).flatten().tolist() for key, attribute in SCALE_ATTRIBUTES.items()},
        }
        for name, module in _attention_layers(model).items()
    }


def _generate(engine: Mapping[str, Any], ids: list[int]) -> Answer:
    """Greedy tokens after the prompt, and the log-probability of each prompt token."""
    from vllm import LLM, SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=GENERATED_TOKENS, ignore_eos=True, prompt_logprobs=0)
    llm = None
    try:
        with stage("engine"):
            llm = LLM(**engine)
        with stage("generate"):
            output = llm.generate({"prompt_token_ids": ids}, sampling, use_tqdm=False)[0]
    finally:
        # An engine collected later would tear down the next one's distributed groups.
        del llm
        gc.collect()
        _leave_process_groups()
    return {
        "tokens": list(output.outputs[0].token_ids),
        "prompt_logprobs": [output.prompt_logprobs[i][ids[i]].logprob for i in range(1, len(ids))],
    }


def _prepare() -> None:
    """Import vLLM and fill in its missing kernels."""
    os.environ.update(ENVIRONMENT)
    vllm_stand_ins.install()
    from vllm import LLM  # noqa: F401


if __name__ == "__main__":
    main(examine, _prepare)
