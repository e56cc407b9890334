"""Quark: what its importer makes of a checkpoint: refused, or loaded with which keys missing and how far its answer is
off.

Options: ``keep`` (folder -> file for the logits and parameters), ``against`` (folder -> the files of the plain model
and of the quantized one that was meant). A folder whose config declares no quantization is loaded by transformers: what
the importer's answers are compared with, with stacks of experts taken apart as the importer does. Beside logits each
layer is held against the plain one on the inputs that it gets: rounded inputs that send a token to other experts change
an answer by much.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import distance
from .common import Answer, main, model_class, prompt_ids, read_config, stage
from .patience import patient
from .quark_load import watched
from .transformers_outcome import SHOWN, Layers, apart, bare, changed, is_static, parameters, stored_types


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch

    keep, against = options.get("keep", {}).get(str(folder)), options.get("against", {}).get(str(folder), {})
    with stage("load"):
        model, missing, unexpected = _loaded(folder)
    model.eval()
    plain = distance.kept(against.get("plain"))
    layers = Layers(model, plain)
    with stage("forward"), torch.no_grad(), layers:
        vocabulary = min(model.config.get_text_config().vocab_size, model.get_input_embeddings().weight.shape[0])
        logits = model(torch.tensor([prompt_ids(vocabulary)])).logits[0].float().numpy()
    stored = stored_types(folder)
    if keep is not None:
        distance.keep(keep, {"logits": logits, **parameters(model)})
    return {
        "missing": missing[:SHOWN],
        "unexpected": unexpected[:SHOWN],
        "mismatched": [],
        "static": any(map(is_static, stored)),
        "bare": sorted(bare(set(unexpected), stored))[:SHOWN],
        "layers": max([*layers.apart.values(), *changed(model, plain).values()], default=None) if plain else None,
        "apart": {name: apart(logits, distance.kept(path)) for name, path in against.items()},
    }


def _loaded(folder: Path) -> tuple[Any, list[str], list[str]]:
    """The model, the keys of its state that nothing filled, and those of the folder that it has no place for."""
    from quark.torch import import_model_from_safetensors
    from quark.torch.utils.llm.model_preparation import create_model_skeleton

    if "quantization_config" not in read_config(folder):
        return _plain(folder), [], []
    model = create_model_skeleton(str(folder))
    unused, unset = watched(model)
    model = import_model_from_safetensors(model, str(folder))
    # A head that is the embedding is filled with it.
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    return model, sorted(set(unset) - tied), sorted(unused)


def _plain(folder: Path) -> Any:
    """A model without quantization: as transformers loads it, with stacks of experts taken apart as the importer does.

    What is stored under the importer's names counts: of some classes transformers has no way from these to its stacks,
    and leaves the numbers that it drew. A model that holds any of those is compared with nothing.
    """
    import torch
    from quark.torch.utils.llm.model_preparation import preprocess_for_quantization
    from safetensors.torch import load_file

    model, info = model_class(folder).from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager", output_loading_info=True
    )
    preprocess_for_quantization(model, reload=True)
    state = model.state_dict()
    stored = {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}
    found = {name: value for name, value in stored.items() if name in state and state[name].shape == value.shape}
    model.load_state_dict(found, strict=False)
    drawn = {name for name in info["missing_keys"] if name in state} - set(found)
    stacked = {name.rpartition(".")[0] for name in info["missing_keys"] if name not in state}
    drawn |= {name for name in state if any(name.startswith(f"{stack}.") for stack in stacked)} - set(found)
    if drawn:
        raise ValueError(f"not stored: {', '.join(sorted(drawn)[:SHOWN])}")
    return model


def _prepare() -> None:
    # What it would compile for fake quantization takes longer than anybody waits, or fails here: it runs as written.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import quark.torch  # noqa: F401
    import torch  # noqa: F401


if __name__ == "__main__":
    main(patient(examine), _prepare)
