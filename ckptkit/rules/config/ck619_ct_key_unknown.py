"""CK619 ct-key-unknown, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.edits.changes import Edit, RemoveKey
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.errors import Fault
from ckptkit.rules.config.arguments import ROLES, all_args, config_groups
from ckptkit.rules.config.block import block_path

#: Keys of QuantizationArgs that came after its first release, with the first version that knows them.
_LATER_ARGS = {"scale_dtype": "0.13", "zp_dtype": "0.13"}

#: What readers look for at the top level, and a misspelt key was meant to be.
_TOP_LEVEL = ("config_groups", "format", "ignore", "kv_cache_scheme", "quantization_status", "sparsity_config")

#: Arguments that every reader knows.
_OLDEST_ARGS = frozenset(
    {
        *("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure"),
        *("dynamic", "actorder", "observer", "observer_kwargs"),
    }
)


@rule(
    "CK619",
    "ct-key-unknown",
    Severity.WARNING,
    reports=(
        "vllm-project/llm-compressor#2057",
        "vllm-project/llm-compressor#2234",
        "vllm-project/compressed-tensors#599",
        "vllm-project/llm-compressor#865",
    ),
)
def ct_key_unknown(context: Context) -> Iterator[Fault]:
    """A group or a tensor spec of a compressed-tensors config has a key that its readers refuse.

    Why it hurts: the library's classes forbid keys they do not know, so one new key makes a checkpoint unreadable for
    every engine that was released before it, and a misspelt one for all of them.

    Example: ``scale_dtype: null``, which versions before 0.13 do not know. Keys that are merely new are notes.

    Fix: remove keys that are null or say what is the default anyway.
    """
    if context.method != "compressed-tensors":
        return
    for fault in context.faults("config-unknown-key"):
        refused = (fault.found or "").startswith(("config_groups.", "kv_cache_scheme."))
        yield fault if refused else _ignored_key(fault)
    specs = {
        f"config_groups.{name}.{role}": group.get(role)
        for name, group in config_groups(context).items()
        for role in ROLES
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
    from difflib import get_close_matches

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


@fix("safe", "CK619")
def leave_out_null_keys(context: Context, finding: Finding) -> Iterator[Edit]:
    """Leave out keys that some reader does not know where they say nothing."""
    for way, args in all_args(context.block):
        for key, value in args.items():
            if value is None and key not in _OLDEST_ARGS:
                yield RemoveKey((*block_path(context), *way, key))
