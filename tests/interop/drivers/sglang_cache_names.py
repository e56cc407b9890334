"""What each model class of SGLang does with a scale of keys: it is asked to load one, under each name that is in use.

No model is built: a class is given an object as :mod:`.sglang_names` makes it, whose only parameters are the scales of
keys of one layer, under every prefix that a language model may have. An answer says of each class and each name
``loads``, ``stops`` (a KeyError), ``drops``, or None where the class asked such an object for more than it is; and
whether the class's file gives its attention the config without which it makes no such parameter.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import sglang_names, sglang_outcome
from .common import Answer, main

_PREFIXES = ("model.", "language_model.model.", "model.language_model.", "")
#: Where it is stored -> the end of its name.
PLACES = {
    "attention": "k_scale",
    "projection": "k_proj.k_scale",
    "merged": "qkv_proj.k_scale",
    "below": "attn.k_scale",
    "output": "k_proj.output_scale",
    "both": "kv_scale",
}
_ATTENTION = re.compile(r"RadixAttention\((?:[^()]|\([^()]*\))*\)")


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch
    from sglang.srt.models.registry import ModelRegistry

    logging.disable(logging.CRITICAL)
    found: Answer = {}
    for architecture, declared in ModelRegistry.models.items():
        found[architecture] = {place: _asked(torch, declared, end) for place, end in PLACES.items()}
        found[architecture]["made"] = _makes(declared)
    return {"classes": found}


def _makes(declared: Any) -> bool | None:
    """Whether every attention in the file of a class is given the config; None where it builds none itself."""
    calls = _ATTENTION.findall(inspect.getsource(inspect.getmodule(declared)))
    return all("quant_config" in call for call in calls) if calls else None


def _asked(torch: Any, declared: Any, end: str) -> str | None:
    answers = [_with_prefix(torch, declared, prefix, end) for prefix in _PREFIXES]
    return next((word for word in ("loads", "stops", "drops") if word in answers), None)


def _with_prefix(torch: Any, declared: Any, prefix: str, end: str) -> str | None:
    parameters = {
        f"{known}layers.0.{owner}attn.k_scale": torch.nn.Parameter(torch.tensor(-1.0), requires_grad=False)
        for known in _PREFIXES
        for owner in ("self_attn.", "self_attn.mla_", "attention.")
    }
    own = torch.nn.Module.__getattr__

    def attribute(self: Any, key: str) -> Any:
        try:
            return own(self, key)
        except AttributeError:
            if key.startswith("__"):
                raise
            return {} if key == "packed_modules_mapping" else getattr(sglang_names._Anything(), key)

    sglang_names._Anything.handed_on = False
    try:
        known = {"__getattr__": attribute, "named_parameters": lambda self, *given, **named: iter(parameters.items())}
        willing = type(declared.__name__, (declared,), known)
        model = willing.__new__(willing)
        torch.nn.Module.__init__(model)
        for key in ("config", "model", "text_config", "pp_group"):
            model.__dict__[key] = sglang_names._Anything()
        model.__dict__.update(quant_config=None, num_fused_shared_experts=0, fuse_qkv_a_proj=False)
        model.load_weights(iter([(f"{prefix}layers.0.self_attn.{end}", torch.tensor(0.5))]))
    except KeyError as error:
        return "stops" if "scale" in str(error) else None
    except Exception:
        return None
    if any(float(parameter) == 0.5 for parameter in parameters.values()):
        return "loads"
    return None if sglang_names._Anything.handed_on else "drops"


if __name__ == "__main__":
    main(examine, sglang_outcome._prepare)
