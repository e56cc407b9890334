"""Quark: what its importer makes of a checkpoint: refused, or loaded with which keys missing and how far its answer is
off.

Options: ``keep`` (folder -> file for the logits), ``against`` (folder -> the files of the plain model and of the
quantized one that was meant). A folder whose config declares no quantization is loaded by transformers: what the
importer's answers are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance
from .common import Answer, main, model_class, prompt_ids, read_config, stage
from .patience import patient
from .quark_load import watched
from .transformers_outcome import SHOWN, apart, bare, is_static, stored_types


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch

    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    with stage("load"):
        model, missing, unexpected = _loaded(folder)
    model.eval()
    with stage("forward"), torch.no_grad():
        vocabulary = min(model.config.get_text_config().vocab_size, model.get_input_embeddings().weight.shape[0])
        logits = model(torch.tensor([prompt_ids(vocabulary)])).logits[0].float().numpy()
    stored = stored_types(folder)
    if keep is not None:
        distance.keep(keep, {"logits": logits})
    return {
        "missing": missing[:SHOWN],
        "unexpected": unexpected[:SHOWN],
        "mismatched": [],
        "static": any(map(is_static, stored)),
        "bare": sorted(bare(set(unexpected), stored))[:SHOWN],
        # Its layers are of its own classes: nothing holds them against plain ones on the same inputs.
        "layers": None,
        "apart": {name: apart(logits, distance.kept(path)) for name, path in against.items()},
    }


def _loaded(folder: Path) -> tuple[Any, list[str], list[str]]:
    """The model, the keys of its state that nothing filled, and those of the folder that it has no place for."""
    import torch

    if "quantization_config" not in read_config(folder):
        plain = model_class(folder).from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
        return plain, [], []
    from quark.torch import import_model_from_safetensors
    from quark.torch.utils.llm.model_preparation import create_model_skeleton

    model = create_model_skeleton(str(folder))
    unused, unset = watched(model)
    model = import_model_from_safetensors(model, str(folder))
    # A head that is the embedding is filled with it.
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    return model, sorted(set(unset) - tied), sorted(unused)


def _prepare() -> None:
    import quark.torch  # noqa: F401
    import torch  # noqa: F401


if __name__ == "__main__":
    main(patient(examine), _prepare)
