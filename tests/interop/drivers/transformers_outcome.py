"""transformers: what becomes of a checkpoint: refused, or loaded with which keys missing and how far its answer is off.

Options: ``keep`` (folder -> file for the logits), ``against`` (folder -> the files of the plain model and of the
quantized one that was meant).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance
from .common import Answer, main, model_class, prompt_ids, stage
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
            model, loading = model_class(folder).from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    finally:
        logging.getLogger("transformers").removeHandler(warnings)
    model.eval()
    with stage("forward"), torch.no_grad():
        # No tokenizer gives an id that has no row, whatever the config says.
        vocabulary = min(model.config.get_text_config().vocab_size, model.get_input_embeddings().weight.shape[0])
        logits = model(torch.tensor([prompt_ids(vocabulary)])).logits[0].float().numpy()
    stored = stored_types(folder)
    if keep is not None:
        distance.keep(keep, {"logits": logits})
    return {
        "missing": sorted(loading["missing_keys"])[:SHOWN],
        "unexpected": sorted(loading["unexpected_keys"])[:SHOWN],
        "mismatched": sorted(str(key) for key in loading["mismatched_keys"])[:SHOWN],
        "warnings": [message[:160] for message in warnings.messages[:SHOWN]],
        "static": any(map(is_static, stored)),
        "bare": sorted(bare(loading["unexpected_keys"], stored))[:SHOWN],
        "apart": {name: apart(logits, distance.kept(path)) for name, path in against.items()},
    }


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
    """The distance of all logits together; None where nothing is there to compare with."""
    import numpy

    if "logits" not in meant:
        return None
    size = float(numpy.linalg.norm(logits - meant["logits"]) / numpy.linalg.norm(meant["logits"]))
    return min(round(size, 4), 1e9) if numpy.isfinite(size) else 1e9


def _prepare() -> None:
    import torch  # noqa: F401
    import transformers

    for name in ("AutoModelForCausalLM", "AutoModelForImageTextToText"):
        getattr(transformers, name)
    with contextlib.suppress(ImportError):
        import compressed_tensors  # noqa: F401
        import quark.torch  # noqa: F401


if __name__ == "__main__":
    main(patient(examine), _prepare)
