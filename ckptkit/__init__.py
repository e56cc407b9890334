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
    from ckptkit.card.section import Card
    from ckptkit.checks.finding import Finding, Severity
    from ckptkit.checks.fixing import Fixes
    from ckptkit.checks.level import Level
    from ckptkit.checks.registry import Rule
    from ckptkit.checks.runner import Report
    from ckptkit.conversion.comparison import Comparison, Errors
    from ckptkit.conversion.execute import Result
    from ckptkit.conversion.plan import Plan
    from ckptkit.doctor import Examination, examine
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
    from ckptkit.model.inventory import Inventory
    from ckptkit.model.summary import Summary
    from ckptkit.page.document import Page
    from ckptkit.page.gather import report_page
    from ckptkit.page.write import write_page
    from ckptkit.storage.container import Container
    from ckptkit.validation import Validation
    from ckptkit.views.matrix import Matrix
    from ckptkit.views.serving import Serving
    from ckptkit.views.skip_table import SkipTable

__all__ = [
    "Card",
    "Checkpoint",
    "CkptkitError",
    "Comparison",
    "Container",
    "ContainerError",
    "ConversionRefused",
    "Errors",
    "Examination",
    "Finding",
    "Fixes",
    "FormatError",
    "Inventory",
    "Level",
    "Matrix",
    "OutputError",
    "Page",
    "Plan",
    "RemoteError",
    "Report",
    "Result",
    "Rule",
    "Serving",
    "Severity",
    "SkipTable",
    "Summary",
    "UploadRefused",
    "UsageError",
    "Validation",
    "__version__",
    "all_rules",
    "convert",
    "diff",
    "examine",
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
    "Card": "card.section",
    "Checkpoint": "model.checkpoint",
    "Comparison": "conversion.comparison",
    "Container": "storage.container",
    "Errors": "conversion.comparison",
    "Examination": "doctor",
    "Finding": "checks.finding",
    "Fixes": "checks.fixing",
    "Inventory": "model.inventory",
    "Level": "checks.level",
    "Page": "page.document",
    "Matrix": "views.matrix",
    "Plan": "conversion.plan",
    "Report": "checks.runner",
    "Result": "conversion.execute",
    "Rule": "checks.registry",
    "Serving": "views.serving",
    "Severity": "checks.finding",
    "SkipTable": "views.skip_table",
    "Summary": "model.summary",
    "Validation": "validation",
    "report_page": "page.gather",
    "write_page": "page.write",
    "examine": "doctor",
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
