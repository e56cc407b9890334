"""CK616 to CK619 and CK631: groups, targets, keys and patterns that readers take differently or never finish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines import targets
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.engines.skip_lists import SKIP_KEYS
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away
from ckptkit.model.select import Regex

#: Keys of QuantizationArgs that came after its first release, with the first version that knows them.
_LATER_ARGS = {"scale_dtype": "0.13", "zp_dtype": "0.13"}
#: What readers look for at the top level, and a misspelt key was meant to be.
_TOP_LEVEL = ("config_groups", "format", "ignore", "kv_cache_scheme", "quantization_status", "sparsity_config")
_ROLES = ("weights", "input_activations", "output_activations")


def _groups(context: Context) -> dict[str, Mapping[str, Any]]:
    groups = context.block.get("config_groups")
    if context.method != "compressed-tensors" or not isinstance(groups, Mapping):
        return {}
    return {str(name): group for name, group in groups.items() if isinstance(group, Mapping)}


@rule("CK616", "groups-beyond-the-first", Severity.WARNING, fix="safe")
def groups_beyond_the_first(context: Context) -> Iterator[Fault]:
    """The only config group is not called ``group_0``, or there are several.

    Why it hurts: TensorRT-LLM looks for ``group_0`` by name and stops without it; it applies that group's scheme to
    every module and never reads targets, as other small consumers do.

    Example: ``config_groups: {"mlp": {...}}``. Several groups are legitimate and reported as a note.

    Mend: rename the only group.
    """
    groups = _groups(context)
    if len(groups) == 1 and "group_0" not in groups:
        (name,) = groups
        message = "some consumers look for the group by name"
        yield Fault("group-name", message, "config.json", None, "config_groups.group_0", f"config_groups.{name}")
    elif len(groups) > 1:
        note = Effect("trtllm", ENGINES["trtllm"].version, Outcome.SILENT, "applies group_0 to every module")
        yield Observation(
            "groups-several",
            "consumers that know one scheme apply the first group to every module",
            "config.json",
            found=", ".join(groups)[:80],
            engines=(note,),
            severity=Severity.INFO,
        )


@rule("CK617", "targets-overlap", Severity.WARNING)
def targets_overlap(context: Context) -> Iterator[Fault]:
    """Two config groups claim the same module, and readers disagree about which wins, or one target is given twice.

    Why it hurts: vLLM takes the first pattern in the config's order; compressed-tensors prefers exact names and sorts
    regular expressions. A target that two groups name silently belongs to the later one.

    Example: ``re:.*mlp.*`` in group_0 and the exact name ``model.layers.0.mlp.down_proj`` in group_1.

    Mend: write targets that do not overlap.
    """
    bodies = _groups(context)
    groups = targets.targets_by_group(context.block) if bodies else {}
    if len(groups) < 2:
        return
    owners: dict[str, str] = {}
    for name, words in groups.items():
        for word in words:
            if word in owners and not _same_scheme(bodies, owners[word], name):
                message = "two groups with different schemes name the same target; the later one wins"
                yield Fault(
                    "target-twice", message, "config.json", None, "one group", f"{word!r}: {owners[word]}, {name}"
                )
            owners[word] = name
    vllm, library = targets.vllm_group(groups), targets.library_group(groups)
    seen: set[str] = set()
    for module in context.linear_names:
        first, second = vllm(module), library(module)
        if first is None or second is None or first == second or _same_scheme(bodies, first, second):
            continue
        kind = names.generalise(module)
        if kind not in seen:
            seen.add(kind)
            found = f"vLLM: {first}; compressed-tensors: {second}"
            yield Fault(
                "targets-overlap", "readers apply different groups to this module", None, module, "one group", found
            )


def _same_scheme(bodies: Mapping[str, Mapping[str, Any]], left: str, right: str) -> bool:
    keys = (*_ROLES, "format")
    return [bodies[left].get(key) for key in keys] == [bodies[right].get(key) for key in keys]


@rule("CK619", "ct-key-unknown", Severity.WARNING, fix="safe")
def ct_key_unknown(context: Context) -> Iterator[Fault]:
    """A group or a tensor spec of a compressed-tensors config has a key that its readers refuse.

    Why it hurts: the library's classes forbid keys they do not know, so one new key makes a checkpoint unreadable for
    every engine that was released before it, and a misspelt one for all of them.

    Example: ``scale_dtype: null``, which versions before 0.13 do not know. Keys that are merely new are notes.

    Mend: remove keys that are null or say what is the default anyway.
    """
    if context.method != "compressed-tensors":
        return
    for fault in context.faults("config-unknown-key"):
        refused = (fault.found or "").startswith(("config_groups.", "kv_cache_scheme."))
        yield fault if refused else _ignored_key(fault)
    specs = {
        f"config_groups.{name}.{role}": group.get(role) for name, group in _groups(context).items() for role in _ROLES
    }
    specs["kv_cache_scheme"] = context.block.get("kv_cache_scheme")
    recent = {
        key: path for path, spec in specs.items() if isinstance(spec, Mapping) for key in _LATER_ARGS if key in spec
    }
    if recent:
        since = max(_LATER_ARGS[key] for key in recent)
        yield Observation(
            "ct-key-recent",
            f"compressed-tensors before {since} refuses these keys, even when they are null",
            "config.json",
            expected="no such keys",
            found=", ".join(f"{path}.{key}" if len(recent) == 1 else key for key, path in recent.items()),
            engines=tuple(
                Effect(engine, f"with compressed-tensors before {since}", Outcome.ERROR, "unknown keys are refused")
                for engine in ("vllm", "sglang", "transformers")
            ),
            severity=Severity.INFO,
        )


def _ignored_key(fault: Fault) -> Observation:
    """A key at the top level: readers drop it without a word. That matters where it is one of theirs, misspelt."""
    misspelt = get_close_matches(fault.found or "", _TOP_LEVEL, 1, cutoff=0.8)
    engines = tuple(
        Effect(name, ENGINES[name].version, Outcome.SILENT, "the key is ignored") for name in ("vllm", "transformers")
    )
    return Observation(
        fault.kind,
        fault.message,
        fault.file,
        found=fault.found,
        help=f"did you mean {misspelt[0]!r}?" if misspelt else None,
        engines=engines,
        severity=None if misspelt else Severity.INFO,
    )


@rule("CK631", "pattern-may-take-forever", Severity.ERROR)
def pattern_may_take_forever(context: Context) -> Iterator[Fault]:
    """A regular expression of a skip list or a target has a form whose matching may never end.

    Why it hurts: every reader tries it on every module's name. Where one text can be cut into the pattern's parts in
    many ways, the ways double with each character, and the load hangs without a word. Nothing here runs it.

    Example: ``re:([a-z_.0-9]+)+!``, a repeat inside a repeat.

    Mend: write the pattern without repeats inside repeats, such as ``re:[a-z_.0-9]+!``, or list exact names.
    """
    listed = [entry for key in SKIP_KEYS for entry in _texts(context.block.get(key))]
    words = [word for target in targets.targets_by_group(context.block).values() for word in target]
    patterns = dict.fromkeys(word.removeprefix("re:") for word in (*listed, *words) if word.startswith("re:"))
    if context.method == "fp8":
        patterns.update(dict.fromkeys(entry for entry in listed if not entry.startswith("re:")))
    faults = [*context.faults("pattern-slow"), *(Regex(text).slow() for text in patterns if may_run_away(text))]
    yield from dict.fromkeys(faults)


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
