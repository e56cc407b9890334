"""What each model class of SGLang does at a name that no parameter has: it is asked to load one such tensor.

No model is built: a class is given an object of it whose config says a small number for every key, whose parts answer
everything with nothing, and that has no parameter at all. An answer says of each class and each name ``stops`` (a
KeyError with the name), ``skips``, or None where the class asked such an object for more than it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import sglang_outcome
from .common import Answer, main

_LAYER = "model.layers.0."
#: What is asked -> a name; every one holds the word by which it is known in what is raised.
WORD = "nobodys"
NAMES = {
    "alone": f"{_LAYER}self_attn.o_proj.{WORD}.weight",
    "queries": f"{_LAYER}self_attn.q_proj.{WORD}.weight",
    "gates": f"{_LAYER}mlp.gate_proj.{WORD}.weight",
    "experts": f"{_LAYER}mlp.experts.0.down_proj.{WORD}.weight",
    "second experts": f"{_LAYER}block_sparse_moe.experts.0.w2.{WORD}.weight",
}
_SECTIONS = ("text_config", "vision_config", "llm_config", "thinker_config", "language_config", "audio_config")
_NO = frozenset({"tie_word_embeddings", "encoder_only", "language_only"})
_LISTS = frozenset({"layer_types", "linear_attn_config", "mlp_only_layers", "full_attention_layer_ids"})


class Anything:
    """A config, or a part of a model, that has whatever it is asked for; who hands tensors on to it is told of."""

    handed_on = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("load_weights", "do_load_weights"):
            return self._take
        if name in _SECTIONS:
            return Anything()
        if name.startswith("named_"):
            return lambda *given, **named: iter(())
        special = {"quantization_config": None, "architectures": ["X"], "num_nextn_predict_layers": 0, "start_layer": 0}
        return special.get(name, False if name in _NO else [] if name in _LISTS else 2)

    def _take(self, weights: Any, *given: Any, **named: Any) -> None:
        Anything.handed_on = True
        list(weights)

    def get(self, name: str, default: Any = None) -> Any:
        return default

    def __call__(self, *given: Any, **named: Any) -> Anything:
        return Anything()

    def __iter__(self) -> Any:
        return iter(())


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch
    from sglang.srt.models.registry import ModelRegistry

    logging.disable(logging.CRITICAL)
    found: Answer = {}
    for architecture, declared in ModelRegistry.models.items():
        found[architecture] = {kind: _asked(torch, declared, name) for kind, name in NAMES.items()}
    return {"classes": found}


def object_of(torch: Any, declared: Any, **members: Any) -> Any:
    """An object of a model class that was not built: it has whatever it is asked for, and these members of its own."""
    own = torch.nn.Module.__getattr__

    def attribute(self: Any, key: str) -> Any:
        try:
            return own(self, key)
        except AttributeError:
            if key.startswith("__"):
                raise
            return {} if key == "packed_modules_mapping" else getattr(Anything(), key)

    willing = type(declared.__name__, (declared,), {"__getattr__": attribute, **members})
    model = willing.__new__(willing)
    torch.nn.Module.__init__(model)
    for key in ("config", "model", "text_config", "pp_group"):
        model.__dict__[key] = Anything()
    model.__dict__.update(quant_config=None, num_fused_shared_experts=0, fuse_qkv_a_proj=False)
    return model


def _asked(torch: Any, declared: Any, name: str) -> str | None:
    Anything.handed_on = False
    try:
        object_of(torch, declared).load_weights(iter([(name, torch.zeros(1, 1))]))
    except KeyError as error:
        return "stops" if WORD in str(error) else None
    except Exception:
        return None  # it stopped at what the object is not, and said nothing of the name
    return None if Anything.handed_on else "skips"


if __name__ == "__main__":
    main(examine, sglang_outcome._prepare)
