"""The Hub: guarded uploads, git hooks, model cards, and proof that what is served is what was checked.

Nothing here is imported by local commands, and the hub library is imported by the functions that need it.
"""

from __future__ import annotations

from typing import Any

from ckptkit.hub.guard import guard

__all__ = ["GuardedHfApi", "guard"]


def __getattr__(name: str) -> Any:
    # A subclass of HfApi can only be made once the hub library is imported, which takes half a second.
    if name == "GuardedHfApi":
        from ckptkit.hub.guard import guarded_api

        return guarded_api()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
