"""What model classes make of stored names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ckptkit.record import record


@record
class NameMap:
    """How a model class makes its own names of stored ones: parts of names are replaced, then beginnings."""

    parts: Mapping[str, str] = field(default_factory=dict)
    begins: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, name: str) -> str:
        """
        >>> NameMap({".conv.": ".short_conv."}, {"backbone": "model"})("backbone.layers.0.conv.in_proj")
        'model.layers.0.short_conv.in_proj'
        """
        for part, new in self.parts.items():
            name = name.replace(part, new, 1)
        for begin, new in self.begins.items():
            name = name.replace(begin, new, 1) if name.startswith(begin) else name
        return name

    def of_entry(self, entry: str) -> str:
        """The same for an entry that may be a pattern, or the name of a class: these stay as they are."""
        return entry if entry.startswith("re:") or "." not in entry else self(entry)


def numbered_on(module: str, part: str, own: str, layers: int) -> str:
    """The name of a part of a layer that its class numbers on from the last layer; of any other module its own.

    >>> numbered_on("model.layers.1.mamba.in_proj", "mamba", "mixer", 24)
    'model.25.mixer.in_proj'
    """
    stem, _, rest = module.partition(".layers.")
    number, _, inner = rest.partition(".")
    if not (number.isdecimal() and inner.startswith(f"{part}.")):
        return module
    return f"{stem}.{int(number) + layers}.{own}{inner.removeprefix(part)}"
