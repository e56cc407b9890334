"""What shells offer for the values of options: formats, schemes, engines, GPUs, rules and words of ours.

Nothing of this is imported before somebody presses the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Words and what they mean.
_Offer = Iterable[tuple[str, str]]


def completed(offers: Callable[[], _Offer], *, listed: bool = False) -> Any:
    """A click callback that offers what begins as the typed word does; ``listed``: after the last comma of it."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, typed = incomplete.rpartition(",") if listed else ("", "", incomplete)
        found = dict(reversed([*offers()]))  # what several have is offered once, with what the first says of it
        return [
            CompletionItem(f"{before}{comma}{word}", help=meaning)
            for word, meaning in reversed(found.items())
            if word.casefold().startswith(typed.casefold())
        ]

    return complete


def _formats() -> _Offer:
    from ckptkit.formats.registry import formats

    for form in formats():
        if form.dialects or form.weight_dtype is not None:
            yield form.name, "a type to dequantize to" if form.weight_dtype is not None else "a format"
            yield from ((alias, form.name) for alias in form.aliases)


def _directions() -> _Offer:
    """From each format that is read to each that is written, spelled so that shells take it for one word."""
    from ckptkit.formats.base import modes
    from ckptkit.formats.registry import formats

    short = {form.name: min((form.name, *form.aliases), key=len) for form in formats() if form.weight_dtype is None}
    written = [form for form in formats() if form.weight_dtype is None and modes(form)]
    for source in short:
        yield from ((f"{short[source]}-to-{short[target.name]}", f"{source} to {target.name}") for target in written)


def _schemes() -> _Offer:
    from ckptkit.formats.registry import formats

    return [(preset.name, f"of {form.name}") for form in formats() for preset in form.presets]


def _modes() -> _Offer:
    from ckptkit.formats.base import modes
    from ckptkit.formats.registry import formats

    return [(mode, f"of {form.name}") for form in formats() for mode in modes(form)]


def _engines() -> _Offer:
    from ckptkit.engines.registry import engines

    return [(engine.name, engine.label) for engine in engines().values()]


def _gpus() -> _Offer:
    from ckptkit.engines.gpus import GPUS

    return [(word, str(gpu)) for gpu in GPUS for word in (*gpu.products, gpu.capability)]


def _rules() -> _Offer:
    from ckptkit.checks.registry import all_rules

    return [(rule.code, rule.plain_summary) for rule in all_rules()]


def _levels() -> _Offer:
    return [("headers", "names, shapes, config"), ("scales", "scale values too"), ("full", "every byte")]


def _outputs() -> _Offer:
    from ckptkit.checks.settings import OUTPUT_FORMATS

    return [(word, "") for word in OUTPUT_FORMATS]


FORMATS = completed(_formats)
SCHEMES = completed(_schemes)
MODES = completed(_modes)
ENGINES = completed(_engines, listed=True)
GPUS = completed(_gpus)
RULES = completed(_rules, listed=True)
RULE = completed(_rules)
LEVELS = completed(_levels)
OUTPUTS = completed(_outputs)


def sources(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The first argument of a conversion may be FROM-to-TO, and each may be a path."""
    from click.shell_completion import CompletionItem

    found = [] if context.params.get("arguments") else completed(_directions)(context, parameter, incomplete)
    return [*found, CompletionItem(incomplete, type="file")]
