"""transformers: what becomes of a checkpoint: refused, or loaded with which keys missing and how far its answer is off.

Its own FP8 quantizer goes the way of a GPU (:mod:`.transformers_stand_ins`). Options: ``keep`` (folder -> file for the
logits and parameters), ``against`` (folder -> the files of the plain model and of the quantized one that was meant).
Beside logits each layer is compared with the plain model's, on the inputs that it gets: there rounding does not add up.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance, transformers_stand_ins
from .common import Answer, main, model_class, prompt_ids, read_config, stage
from .patience import patient
from .transformers_logits import _Warnings

SHOWN = 4
#: Names of scales of weights.
_SCALE = re.compile(r"(?<=\.)(weight_scale(_inv)?|weight_quantizer\.scale|scale_weight)$")
#: Names of scales of activations and of the KV cache.
_STATIC = re.compile(r"\.((input|output|activation|[kvq])_scale|(input|output)_quantizer\.scale)$")


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch

    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    warnings = _Warnings()
    logging.getLogger("transformers").addHandler(warnings)
    try:
        with stage("load"):
            model, loading = _class(folder).from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    finally:
        logging.getLogger("transformers").removeHandler(warnings)
    model.eval()
    plain = distance.kept(against.get("plain"))
    layers = Layers(model, plain)
    with stage("forward"), torch.no_grad(), layers:
        # No tokenizer gives an id that has no row, whatever the config says.
        vocabulary = min(model.config.get_text_config().vocab_size, model.get_input_embeddings().weight.shape[0])
        answer = model(torch.tensor([prompt_ids(vocabulary)]))
        # Of a class without a head it is what goes into one.
        logits = (answer.logits if hasattr(answer, "logits") else answer.last_hidden_state)[0].float().numpy()
    stored = stored_types(folder)
    if keep is not None:
        distance.keep(keep, {"logits": logits, **parameters(model)})
    return {
        "missing": sorted(loading["missing_keys"])[:SHOWN],
        "unexpected": sorted(loading["unexpected_keys"])[:SHOWN],
        "mismatched": sorted(str(key) for key in loading["mismatched_keys"])[:SHOWN],
        "warnings": [message[:160] for message in warnings.messages[:SHOWN]],
        "static": any(map(is_static, stored)),
        "bare": sorted(bare(loading["unexpected_keys"], stored))[:SHOWN],
        "apart": {name: apart(logits, distance.kept(path)) for name, path in against.items()},
        "layers": max([*layers.apart.values(), *changed(model, plain).values()], default=None) if plain else None,
        "furthest": sorted({**layers.apart, **changed(model, plain)}.items(), key=lambda pair: -pair[1])[:SHOWN],
    }


class Layers:
    """How far the outputs of layers are from those of the plain model's linear layers on the same inputs."""

    def __init__(self, model: Any, plain: Mapping[str, Any]) -> None:
        self.apart: dict[str, float] = {}
        self._model, self._plain = model, plain
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        for name, module in self._model.named_modules():
            weight = self._plain.get(f"{name}.weight")
            if weight is not None and weight.ndim == 2 and "Linear" in type(module).__name__:
                self._hooks.append(module.register_forward_hook(self._hook(name)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Any:
        import torch

        weight = torch.from_numpy(self._plain[f"{name}.weight"])
        bias = self._plain.get(f"{name}.bias")

        def compare(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
            meant = inputs[0].float() @ weight.T + (0 if bias is None else torch.from_numpy(bias))
            off = float((output.float() - meant).norm() / meant.norm().clamp(min=1e-12))
            self.apart[name] = max(self.apart.get(name, 0.0), off if off == off else 1e9)

        return compare


def parameters(model: Any) -> dict[str, Any]:
    """All parameters that are numbers, under the names that they have in memory."""
    return {
        name: value.detach().float().numpy()
        for name, value in model.named_parameters()
        if value.is_floating_point() and value.element_size() > 1
    }


def changed(model: Any, plain: Mapping[str, Any]) -> dict[str, float]:
    """How far parameters are from the plain model's that are no layer's which was compared."""
    own = parameters(model)
    linear = {f"{name}.weight" for name, module in model.named_modules() if "Linear" in type(module).__name__}
    same = (name for name in own if name in plain and name not in linear and own[name].shape == plain[name].shape)
    return {name: distance.furthest(own[name], plain[name]) for name in same}


def _class(folder: Path) -> Any:
    """The class that a folder is loaded with; one without a head where the config names such a class, and no head is
    stored."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    config = read_config(folder)
    bodies = {name for names in MODEL_MAPPING_NAMES.values() for name in ([names] if isinstance(names, str) else names)}
    named = config.get("architectures")
    headless = isinstance(named, list) and named[:1] and named[0] in bodies
    levels = (config, config.get("text_config") or {})
    tied = any(level.get("tie_word_embeddings") is True for level in levels)
    if headless and not tied and not any("lm_head" in name for name in stored_types(folder)):
        return transformers.AutoModel
    return model_class(folder)


def stored_types(folder: Path) -> dict[str, str]:
    """The names of all tensors, with their types."""
    from safetensors import safe_open

    types: dict[str, str] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as shard:
            types.update({name: shard.get_slice(name).get_dtype() for name in shard.keys()})  # noqa: SIM118
    return types


def bare(unexpected: set[str], stored: Mapping[str, str]) -> set[str]:
    """FP8 weights that were taken while their scales were left out; of names only what follows the prefix counts."""
    left_out = {_inner(name) for name in unexpected}
    codes = {_inner(name) for name, kind in stored.items() if kind.startswith("F8") and name.endswith(".weight")}
    scaled = {_SCALE.sub("weight", name) for name in left_out if _SCALE.search(name)}
    return (scaled & codes) - left_out


def is_static(name: str) -> bool:
    """Whether a tensor is a scale of activations or of the KV cache."""
    return _STATIC.search(name) is not None


def _inner(name: str) -> str:
    return name[max(name.find("layers."), name.find("blocks."), 0) :]


def apart(logits: Any, meant: Mapping[str, Any]) -> float | None:
    """The distance of all logits together; None where nothing is there to compare with: of a class without a head what
    would go into one is of another size."""
    import numpy

    if "logits" not in meant or meant["logits"].shape != logits.shape:
        return None
    size = float(numpy.linalg.norm(logits - meant["logits"]) / numpy.linalg.norm(meant["logits"]))
    return min(round(size, 4), 1e9) if numpy.isfinite(size) else 1e9


def _prepare() -> None:
    import torch  # noqa: F401
    import transformers

    transformers_stand_ins.install()
    for name in ("AutoModelForCausalLM", "AutoModelForImageTextToText"):
        getattr(transformers, name)
    with contextlib.suppress(ImportError):
        import compressed_tensors  # noqa: F401
        import quark.torch  # noqa: F401


if __name__ == "__main__":
    main(patient(examine), _prepare)
