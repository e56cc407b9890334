"""SGLang on a CPU without its GPU packages: what becomes of a checkpoint, as far as its weights are loaded.

Its own classes read the config, choose a scheme for each layer, create the parameters and load the weights into them;
kernels are not reached. Options and answers are those of :mod:`.vllm_outcome`.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance, sglang_cache, sglang_stand_ins, vllm_outcome
from .common import Answer, main, stage
from .patience import patient

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TORCHDYNAMO_DISABLE": "1", "SGLANG_DISABLE_REQUEST_LOGGING": "1"}


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.model_loader import loader
    from sglang.srt.model_loader.utils import set_default_torch_dtype

    with stage("config"):
        try:
            arguments, config = _configured(folder, "torch_native")
        except AssertionError as error:
            if _OTHER_BACKENDS not in str(error):
                raise
            arguments, config = _configured(folder, "triton")
    _one_process(arguments)
    load = LoadConfig()
    answer: Answer = {"quantization": config.quantization}
    with set_default_torch_dtype(config.dtype):
        with stage("create"):
            quantization = loader._get_quantization_config(config, load)
            model = loader._initialize_model(config, load, quantization)
        answer["schemes"] = _schemes(model)
        first = vllm_outcome._fill(model)
        with stage("load"):
            model.load_weights(loader.DefaultModelLoader(load)._get_all_weights(config, model))
        unused = _UNUSED.get(type(model).__name__, ())
        answer["unset"] = [name for name in vllm_outcome._unset(model, first) if not name.endswith(unused)]
        weights, others = vllm_outcome._numbers(model)
    if keep is not None:
        distance.keep(keep, {**weights, **others})
    plain = distance.kept(against.get("plain"))
    answer["absent"] = sorted(name for name in plain if name.endswith(".weight") and name not in weights)
    answer["differs"] = {
        **vllm_outcome._apart(weights, plain),
        **vllm_outcome._apart(others, sglang_cache.without_unset(distance.kept(against.get("meant")))),
        **sglang_cache.apart(model, folder),
    }
    return answer


#: What a class says that has attention of its own; which one computes it says nothing of the weights.
_OTHER_BACKENDS = "One of the attention backends"


def _configured(folder: Path, backend: str) -> tuple[Any, Any]:
    """The arguments of a server and the model's config, as far as these are read without a device.

    States of linear attention are kept without what needs one to be copied.
    """
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.runtime_context import SpawnRanks, publish
    from sglang.srt.server_args import ServerArgs

    arguments = ServerArgs(
        model_path=str(folder),
        device="cpu",
        attention_backend=backend,
        skip_tokenizer_init=True,
        mamba_radix_cache_strategy="no_buffer",
        disable_overlap_schedule=True,
    )
    publish(arguments, role="scheduler", ranks=SpawnRanks(0))
    return arguments, ModelConfig.from_server_args(arguments)


#: Parameters that a class makes and that its own code never looks at: nothing fills them.
_UNUSED = {"FalconH1ForCausalLM": (".q_norm.weight", ".k_norm.weight")}
_started: list[str] = []


def _one_process(arguments: Any) -> None:
    """The distributed state for a world of one, once; it holds for every model."""
    if _started:
        return
    from sglang.srt.distributed import init_distributed_environment, initialize_model_parallel
    from sglang.srt.layers.dp_attention import initialize_dp_attention

    _started.append(tempfile.mkdtemp())
    where = f"file://{_started[0]}/rendezvous"
    init_distributed_environment(backend="gloo", world_size=1, rank=0, local_rank=0, distributed_init_method=where)
    initialize_model_parallel(backend="gloo")
    initialize_dp_attention(arguments)


def _schemes(model: Any) -> list[str]:
    """The kinds of layers, each with the scheme that was chosen for it."""
    found = set()
    for _, module in model.named_modules():
        method = getattr(module, "quant_method", None)
        if method is not None:
            chosen = getattr(module, "scheme", None) or method
            found.add(f"{type(module).__name__}: {type(chosen).__name__}")
    return sorted(found)


def _prepare() -> None:
    os.environ.update(ENVIRONMENT)
    sglang_stand_ins.install()
    import sglang.srt.model_loader.loader  # noqa: F401
    from sglang.srt.layers.quantization.quark import quark

    # Its own function knows devices that are there only.
    quark.get_device_capability = lambda *given: (9, 0)
    gc.freeze()


if __name__ == "__main__":
    main(patient(examine), _prepare)
