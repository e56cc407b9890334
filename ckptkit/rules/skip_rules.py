"""CK605 to CK614: skip lists against what is stored, as the format's own reader and as every engine reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.checks.skip_lists import builds_quantized, matchers_of, readings_of, undeclared_weights
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.engines.architectures import leaves_router_alone
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.engines.outcomes import outcomes_of
from ckptkit.engines.skip_lists import SKIP_KEYS
from ckptkit.errors import Fault, excerpt
from ckptkit.model import names
from ckptkit.model.census import is_small
from ckptkit.model.select import Exact, glob_or_exact, regex_or_exact
from ckptkit.rules.config import nothing_is_quantized
from ckptkit.rules.dtypes import ONE_BYTE
from ckptkit.rules.promises import MTP_NAMES

#: Entries that begin or end differently than the modules they mean, in releases and in re-saved checkpoints.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.", "")
_EXPERT_LEAF = re.compile(r"\.experts\.\d+\.")
_SUGGESTIONS = 50


def skip_key(context: Context) -> str:
    """The key of the config that holds the skip list."""
    if context.method == "quark":
        return "exclude"
    return "ignored_layers" if context.method == "fp8" else "ignore"


def entries(context: Context) -> tuple[str, ...]:
    """The skip list as written, under the first key that has one."""
    for key in (skip_key(context), *SKIP_KEYS):
        value = context.block.get(key)
        if isinstance(value, list) and value:
            return tuple(entry for entry in value if isinstance(entry, str))
    return ()


def is_mtp(context: Context, module: str) -> bool:
    """Whether a module belongs to a multi-token prediction layer, by its name or beyond the promised layers."""
    if MTP_NAMES.search(module):
        return True
    layers = context.dimensions.layers
    position = module.find("layers.")
    if layers is None or position < 0 or context.dimensions.mtp_layers is None:
        return False
    number = module[position + 7 :].partition(".")[0]
    return number.isdigit() and int(number) >= layers


@rule("CK605", "skip-list-incomplete", Severity.WARNING, conversion=OnConversion.MENDED, fix="safe")
def skip_list_incomplete(context: Context) -> Iterator[Fault]:
    """A linear module is stored in high precision, but the config does not exclude it.

    Why it hurts: vLLM builds it as an FP8 layer and casts the weight to FP8 by value, without a scale and without a
    word. Routers are left alone by nearly all model classes, so that a forgotten one is a note; Qwen3-MoE's, for one,
    is quantized. Engines that leave a module
    alone whatever the list says, as vLLM does with the head of a Quark checkpoint, do not suffer and are not named.

    Example: ``model.layers.0.mlp.gate.weight`` in BF16, and ``exclude`` holds ``lm_head`` only. Prediction layers
    have a rule of their own, CK614.

    Mend: add the exact name to the skip list. A conversion does.
    """
    wanted = [name for name in _declared_high_precision(context) if not is_mtp(context, name)]
    readings = readings_of(context) if wanted else {}
    builds = {engine: builds_quantized(context, engine, reading) for engine, reading in readings.items()}
    for name in wanted:
        # Some engines never quantize the head, or read the entries otherwise than the format's own library does.
        spared = {engine for engine, quantizes in builds.items() if not quantizes(name)}
        effects = tuple(effect for effect in outcomes_of("CK605") if effect.engine not in spared)
        fault = _incomplete(context, name, "stored in high precision, but the config calls it quantized")
        harmless = leaves_router_alone(context.dimensions.architecture, name)
        severity = Severity.INFO if harmless else None
        yield Observation(**vars(fault), engines=() if harmless else effects, severity=severity)


@rule("CK614", "prediction-layer-not-skipped", Severity.WARNING, conversion=OnConversion.MENDED, fix="safe")
def prediction_layer_not_skipped(context: Context) -> Iterator[Fault]:
    """A linear module of a multi-token prediction layer is stored in high precision and not in the skip list.

    Why it hurts: the draft model is built quantized from weights that are not. It loads, and no drafted token is ever
    accepted; or its experts stop the load.

    Example: ``model.layers.61.eh_proj.weight`` in BF16 with ``num_hidden_layers: 61``.

    Mend: add the layer's modules to the skip list. A conversion does.
    """
    for name in _declared_high_precision(context):
        if is_mtp(context, name):
            yield _incomplete(context, name, "a prediction layer in high precision that the config calls quantized")


def _declared_high_precision(context: Context) -> Sequence[str]:
    checkpoint = context.checkpoint
    if checkpoint is None or nothing_is_quantized(context):
        return ()
    return [name for name in checkpoint.declared_only if checkpoint.unquantized[name].dtype not in ONE_BYTE]


def _incomplete(context: Context, name: str, message: str) -> Fault:
    key = skip_key(context)
    weight = context.checkpoint.unquantized[name] if context.checkpoint else None
    return Fault(
        "skip-list-incomplete",
        message,
        weight.shard if weight else None,
        weight.name if weight else name,
        expected=f"{name} in {key}",
        found=f"{weight.dtype}, no scale" if weight else None,
        help=f"add {name!r} to {key}",
    )


@rule("CK606", "excluded-but-quantized", Severity.ERROR, fix="unsafe")
def excluded_but_quantized(context: Context) -> Iterator[Fault]:
    """A weight is stored in FP8, but the config does not declare it quantized.

    Why it hurts: engines create no scale parameter for it: they stop at the scale's name, or load raw codes as
    values.

    Example: ``model.layers.0.mlp.up_proj`` in the skip list, F8_E4M3 in the file.

    Mend: take the module out of the skip list, or add it to the targets.
    """
    for tensor in context.checkpoint.stored_only if context.checkpoint else ():
        if tensor.dtype == FP8_WEIGHT and not is_small(tensor) and tensor.name not in context.stacked_experts:
            yield Fault(
                "excluded-but-quantized",
                "stored in FP8, but the config does not call it quantized",
                tensor.shard,
                tensor.name,
                expected="a module that the config quantizes",
                found=f"{tensor.dtype} {list(tensor.shape)}",
                help="take it out of the skip list, or add it to the targets",
            )


@rule("CK607", "skip-entry-matches-nothing", Severity.INFO, conversion=OnConversion.MENDED, fix="safe")
def skip_entry_matches_nothing(context: Context) -> Iterator[Fault]:
    """An entry of the skip list matches no stored module.

    Why it hurts: a stale prefix or a misspelt name: the module it was meant for is then quantized or cast.

    Example: ``model.layers.0.mlp.gat`` where the module is called ``model.layers.0.mlp.gate``. Modules of multimodal
    models may be listed under the names that transformers gives them in memory.

    Mend: correct the entry or remove it.
    """
    checkpoint = context.checkpoint
    listed = entries(context)
    if checkpoint is None or not listed:
        return
    parse = regex_or_exact if checkpoint.format == "compressed-tensors" else glob_or_exact
    others = (tensor.module for tensor in (*checkpoint.plain, *checkpoint.stored_only))
    modules = dict.fromkeys([*context.linear_names, *context.names_in_memory.values(), *others])
    owners = _owners(modules)
    suggested = 0
    for entry in listed:
        if entry in modules or entry in owners or (entry == names.LM_HEAD and checkpoint.tied_head):
            continue
        pattern = parse(entry)
        if not isinstance(pattern, Exact) and any(pattern.matches(module) for module in modules):
            continue
        meant = _meant(entry, context.linear_names) if suggested < _SUGGESTIONS else None
        suggested += 1
        message = "an entry of the skip list matches no stored module"
        help_text = f"did you mean {meant!r}?" if meant else None
        found = f"{skip_key(context)}: {excerpt(entry)}"
        yield Fault("skip-entry-dead", message, "config.json", None, "a module's name", found, help_text)


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


@rule("CK608", "skip-entry-ambiguous", Severity.WARNING, fix="safe")
def skip_entry_ambiguous(context: Context) -> Iterator[Fault]:
    """The skip list means different modules to different engines.

    Why it hurts: entries are exact names to one reader, regular expressions or shell patterns to the next. Where they
    disagree, one of them builds a layer quantized that another leaves alone, and the stored bytes suit only one.

    Example: ``*mlp.gate`` in Quark's ``exclude``: a pattern for Quark and SGLang, a name that nothing has for vLLM,
    which casts the gates to FP8. Or ``visual.blocks.0.attn.qkv`` as llm-compressor stores and lists it: transformers
    knows ``model.visual.blocks.0.attn.qkv`` and builds the tower from scales that nothing sets.

    Mend: write exact module names, those of multimodal models as transformers calls them in memory too.
    """
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    matchers = matchers_of(context)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in (*context.linear_names, *(weight.module for weight in undeclared_weights(context))):
        skips = tuple(engine for engine, matches in matchers.items() if matches(name))
        if skips and len(skips) != len(matchers) and not name.endswith(names.LM_HEAD):
            grouped.setdefault((names.generalise(name), skips), []).append(name)
    if not grouped:
        yield from context.faults("ct-ignore-class")
    for (kind, skips), members in grouped.items():
        stored = members[0] not in checkpoint.unquantized
        others = [engine for engine in matchers if engine not in skips]
        wrong = skips if stored else others
        outcome = Outcome.ERROR if stored else Outcome.SILENT
        note = "leaves the module alone" if stored else "builds the module quantized"
        found = f"left alone by {_labels(skips)}; quantized by {_labels(others)}"
        other = None if stored else context.names_in_memory.get(members[0])
        count = f"{len(members)} modules like this" if len(members) > 1 else "this module"
        yield Observation(
            "skip-ambiguous",
            f"engines disagree whether the skip list means {count}",
            "config.json",
            members[0] if len(members) == 1 else kind,
            expected=f"{other} as well" if other else "exact module names",
            found=found,
            engines=tuple(Effect(engine, ENGINES[engine].version, outcome, note) for engine in wrong),
        )


def _labels(engines: Sequence[str]) -> str:
    return ", ".join(ENGINES[engine].label for engine in engines)


@rule("CK610", "skip-list-in-fused-names", Severity.WARNING, fix="safe")
def skip_list_in_fused_names(context: Context) -> Iterator[Fault]:
    """The skip list names fused layers that are stored in parts, or single leaves of experts.

    Why it hurts: some readers look for the stored parts, some for the fused layer they build, and few for both.
    Leaves of experts are matched by engines that look at each expert, not by those that see one layer of experts;
    they are reported as a note.

    Example: ``model.layers.0.self_attn.qkv_proj`` where q_proj, k_proj and v_proj are stored.

    Mend: list the stored names and the fused one, and the experts' container.
    """
    modules = set(context.linear_names)
    leaves = []
    for entry in entries(context) if context.checkpoint else ():
        if _EXPERT_LEAF.search(entry):
            leaves.append(entry)
            continue
        owner, _, last = entry.rpartition(".")
        parts = names.FUSED_GROUPS.get(last, ())
        stored = [part for part in parts if names.join(owner, part) in modules]
        if stored and entry not in modules:
            message = "the entry names a fused layer, and its parts are stored"
            found = f"{skip_key(context)}: {entry!r}"
            yield Fault("skip-fused", message, "config.json", entry, ", ".join(stored), found)
    containers = {entry[: entry.find(".experts.") + len(".experts")] for entry in leaves}
    unlisted = containers.difference(entries(context))
    if leaves and unlisted:
        yield Observation(
            "skip-expert-leaves",
            f"{len(leaves)} entries name parts of single experts; engines that see one layer of experts miss them",
            "config.json",
            expected=f"{min(unlisted)} as well",
            found=leaves[0],
            severity=Severity.INFO,
        )
