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
    sglang_names.Anything.handed_on = False
    named = {"named_parameters": lambda self, *given, **named: iter(parameters.items())}
    try:
        model = sglang_names.object_of(torch, declared, **named)
        model.load_weights(iter([(f"{prefix}layers.0.self_attn.{end}", torch.tensor(0.5))]))
    except KeyError as error:
        return "stops" if "scale" in str(error) else None
    except Exception:
        return None  # it stopped at what the object is not, and said nothing of the scale
    if any(float(parameter) == 0.5 for parameter in parameters.values()):
        return "loads"
    return None if sglang_names.Anything.handed_on else "drops"


if __name__ == "__main__":
    main(examine, sglang_outcome._prepare)
