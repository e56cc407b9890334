"""ckptkit: convert and validate FP8 LLM checkpoints without loading them.

    import ckptkit

    ckptkit.validate("my-checkpoint").clean
    ckptkit.convert("my-quark-export", "my-ct-checkpoint", to="ct")

The names below are imported on first use, so that ``import ckptkit`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ckptkit.api import convert, diff, inspect, open, plan, validate
    from ckptkit.errors import CkptkitError

__all__ = ["CkptkitError", "__version__", "convert", "diff", "inspect", "open", "plan", "validate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ckptkit' has no attribute {name!r}")
    from ckptkit import api, errors

    return getattr(errors if name == "CkptkitError" else api, name)


def __dir__() -> list[str]:
    return __all__
