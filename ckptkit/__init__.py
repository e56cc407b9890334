"""ckptkit: convert and validate FP8 LLM checkpoints without loading them.

    import ckptkit

    ckptkit.validate("my-checkpoint").clean
    ckptkit.convert("my-quark-export", "my-ct-checkpoint", to="ct")

The names below are imported on first use, so that ``import ckptkit`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ckptkit import hub
    from ckptkit.api import (
        all_rules,
        convert,
        diff,
        execute,
        fix,
        inspect,
        model_card,
        open,
        plan,
        rule,
        serving,
        validate,
        write_card,
    )
    from ckptkit.checks.level import Level
    from ckptkit.checks.runner import Report
    from ckptkit.errors import (
        CkptkitError,
        ContainerError,
        ConversionRefused,
        FormatError,
        OutputError,
        RemoteError,
        UploadRefused,
        UsageError,
    )
    from ckptkit.model.checkpoint import Checkpoint
    from ckptkit.page.document import Page
    from ckptkit.page.gather import report_page
    from ckptkit.page.write import write_page
    from ckptkit.validation import Validation

__all__ = [
    "Checkpoint",
    "CkptkitError",
    "ContainerError",
    "ConversionRefused",
    "FormatError",
    "Level",
    "OutputError",
    "Page",
    "RemoteError",
    "Report",
    "UploadRefused",
    "UsageError",
    "Validation",
    "__version__",
    "all_rules",
    "convert",
    "diff",
    "execute",
    "fix",
    "hub",
    "inspect",
    "model_card",
    "open",
    "plan",
    "report_page",
    "rule",
    "serving",
    "validate",
    "write_card",
    "write_page",
]

_HOMES = {
    "Checkpoint": "model.checkpoint",
    "Level": "checks.level",
    "Page": "page.document",
    "Report": "checks.runner",
    "Validation": "validation",
    "report_page": "page.gather",
    "write_page": "page.write",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ckptkit' has no attribute {name!r}")
    if name == "hub":
        return importlib.import_module("ckptkit.hub")
    home = _HOMES.get(name, "errors" if name[0].isupper() else "api")
    return getattr(importlib.import_module(f"ckptkit.{home}"), name)


def __dir__() -> list[str]:
    return __all__
