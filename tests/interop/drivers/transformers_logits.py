"""transformers: load a folder with ``from_pretrained`` and return the logits of a fixed prompt.

The logits come from the integration a user gets: compressed-tensors dequantizes on the first forward pass and
fake-quantizes activations; Quark replaces each linear by its own ``QParamsLinear``. What transformers reports
about keys matters as much as the numbers: an unexpected key is a scale it did not apply.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, main, model_class, run_prompt


class _Warnings(logging.Handler):
    """Collects what transformers warns about while loading."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    import torch

    warnings = _Warnings()
    logging.getLogger("transformers").addHandler(warnings)
    try:
        model, loading = model_class(folder).from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    finally:
        logging.getLogger("transformers").removeHandler(warnings)
    model.eval()
    classes = {name: type(module).__name__ for name, module in model.named_modules() if _is_linear(module)}
    return {
        "linear_classes": classes,
        "missing_keys": sorted(loading["missing_keys"]),
        "unexpected_keys": sorted(loading["unexpected_keys"]),
        "mismatched_keys": sorted(str(key) for key in loading["mismatched_keys"]),
        "warnings": warnings.messages,
        **run_prompt(model),
    }


def _is_linear(module: Any) -> bool:
    return "Linear" in type(module).__name__


if __name__ == "__main__":
    main(examine)
