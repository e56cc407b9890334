"""What contradictions about a head that is the embedding do in SGLang, by the code of the rule that finds them."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Known, Outcome, Outcomes
from ckptkit.engines.sglang.classes import NEVER_TIES, PIXTRALS

_SILENT = Outcome.SILENT
_DROPPED = "a stored head is dropped; a missing one keeps what it was allocated with"

TIES: Outcomes = MappingProxyType(
    {
        "CK113": (Known(_SILENT, _DROPPED),),
        "CK113/levels/inner-right": (
            Known(_SILENT, _DROPPED),
            Known(Outcome.OK, "the language model's own section counts", architectures=PIXTRALS),
        ),
        "CK113/levels/outer-right": (
            Known(_SILENT, _DROPPED),
            Known(Outcome.OK, "the outermost level counts", architectures=("Qwen3VLFor", "Qwen3VLMoeFor")),
        ),
        "CK113/head-stored": (
            Known(_SILENT, "a stored head is dropped"),
            Known(Outcome.OK, "the head is loaded", architectures=NEVER_TIES),
        ),
        "CK113/head-same": (),
        "CK113/head-stored/quantized": (
            Known(Outcome.UNKNOWN, "a stored head is dropped, and whether it is the embedding is not known"),
            Known(Outcome.OK, "the head is loaded", architectures=NEVER_TIES),
        ),
    }
)
