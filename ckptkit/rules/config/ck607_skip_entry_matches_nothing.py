"""CK607 skip-entry-matches-nothing, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, ListEntry, Observation, Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, RemoveItem
from ckptkit.errors import Fault, excerpt
from ckptkit.model import names
from ckptkit.model.select import Exact
from ckptkit.rules.config.skip_entries import entries, skip_key, skip_lists

#: Entries that begin or end differently than the modules they mean, in releases and in re-saved checkpoints.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.", "")

_SUGGESTIONS = 50


@rule(
    "CK607",
    "skip-entry-matches-nothing",
    Severity.INFO,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/compressed-tensors#866",
        "vllm-project/llm-compressor#2641",
        "sgl-project/sglang#24927",
        "vllm-project/vllm#51910",
    ),
)
def skip_entry_matches_nothing(context: Context) -> Iterator[Fault]:
    """An entry of the skip list matches no stored module.

    Why it hurts: a stale prefix or a misspelt name: the module it was meant for is then quantized or cast.

    Example: ``model.layers.0.mlp.gat`` where the module is called ``model.layers.0.mlp.gate``. Modules of multimodal
    models may be listed under the names that transformers gives them in memory.

    Fix: correct the entry or remove it.
    """
    checkpoint = context.checkpoint
    listed = entries(context)
    if checkpoint is None or context.dialect is None or not listed:
        return
    parse = context.dialect.skip_list.patterns.parse
    unknown = [entry for entry in listed if not checkpoint.has_module(entry)]
    if not unknown:
        return
    others = (tensor.module for tensor in (*checkpoint.plain, *checkpoint.stored_only))
    modules = dict.fromkeys([*context.linear_names, *context.names_in_memory.values(), *others])
    owners = _owners(modules)
    suggested = 0
    for entry in unknown:
        if entry in modules or entry in owners or (entry == names.LM_HEAD and checkpoint.tied_head):
            continue
        if names.stored_parts(entry, modules):
            continue  # the name of a fused layer: CK610 says so where that is not enough
        pattern = parse(entry)
        if not isinstance(pattern, Exact) and any(pattern.matches(module) for module in modules):
            continue
        meant = _meant(entry, context.linear_names) if suggested < _SUGGESTIONS else None
        suggested += 1
        message = "an entry of the skip list matches no stored module"
        help_text = f"did you mean {meant!r}?" if meant else None
        found = f"{skip_key(context)}: {excerpt(entry)}"
        yield Observation(
            "skip-entry-dead",
            message,
            context.section.file,
            expected="a module's name",
            found=found,
            help=help_text,
            subject=ListEntry(entry),
        )


def _owners(modules: dict[str, None]) -> set[str]:
    """Every parent, grandparent and so on of the modules."""
    found: set[str] = set()
    for module in modules:
        owner = module.rpartition(".")[0]
        while owner and owner not in found:
            found.add(owner)
            owner = owner.rpartition(".")[0]
    return found


def _meant(entry: str, modules: Sequence[str]) -> str | None:
    """The module that an entry with another prefix, or with a parameter's name behind it, means."""
    bare = entry.removesuffix(".weight").removesuffix(".linear")
    for prefix in _PREFIXES:
        if prefix and bare.startswith(prefix):
            bare = bare.removeprefix(prefix)
            break
    return next((module for module in modules if module.endswith(bare) and module[: -len(bare)] in _PREFIXES), None)


@fix("safe", "CK607")
def drop_dead_entry(context: Context, finding: Finding) -> Iterator[Edit]:
    """Drop an entry of the skip list that matches no module."""
    for listed in skip_lists(context):
        if isinstance(finding.subject, ListEntry) and finding.subject.value in listed.entries:
            yield RemoveItem(listed.way, finding.subject.value, listed.file)
