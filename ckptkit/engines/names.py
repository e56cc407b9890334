"""The names of modules that a model class has. What a class is not known to have may be there: only classes that are
listed by an engine are judged, each by all of its names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from ckptkit.engines.prediction import MTP_NAMES
from ckptkit.model import names
from ckptkit.record import record

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")


@record
class ModuleNames:
    """A model class of a plain decoder: what its layers hold, as dotted names that stand for every expert and layer.

    ``linear`` may have one more part below them, which rules judge; ``others`` have none. ``needed`` are groups of
    names beside those of linear layers and norms: every layer has one of each. A class that ``skips`` leaves out
    whatever has another name; one that is ``open`` is known by what it ``lacks`` alone: the first module of these stops
    the load. One that ``lists`` what is missing knows no merged names, and stops at a linear layer of which nothing is
    stored. One that ``maps`` stored names into its own leaves out towers, and out of names what it ``strips``; it
    knows them without the prefix too, and takes the embedding for a head that is not stored. Names are ``apart`` where
    merged ones stand for no parts. ``head`` is what comes last, ``parameters`` are names beside those of weights that
    nothing else fills. A class with ``bare`` knows names without the prefix too, and one that is ``strict`` has no
    parameters for scales of attention. With a file called ``unless`` in the folder the class
    is built as another one, of which nothing is known. ``towers`` are the types of vision towers that it has, empty
    for any. An open one that ``wants_head`` needs a head that the config's outermost level does not tie. A class that
    is ``whole`` leaves out what it has no place for, and stops at any module of which nothing is stored; its layers are
    below ``owner``, and ``outside`` these are its embedding and what else it needs. Of one that is ``listed`` nothing
    is known but its names: neither what it needs, nor what it makes of layers beyond the last. An open one may look for
    its layers ``below`` some prefixes, and never below those that are ``elsewhere``: of any other that is not known.
    One that knows what is ``strange`` stops at parameters of attention and of an MLP that no class has. ``beside``
    pairs a module with a tensor that a layer with this module needs too. One that ``ends`` at its last layer stops at
    any beyond, whatever a config says of layers that predict. What one that leaves out other names ``merges`` it looks
    up by the last part of a name, and stops where that is stored anywhere else in a layer.
    """

    linear: frozenset[str]
    others: frozenset[str]
    needed: tuple[tuple[str, ...], ...] = ()
    lacks: frozenset[str] = frozenset()
    skips: bool = False
    open: bool = False
    lists: bool = False
    strips: str = ""
    maps: bool = False
    apart: bool = False
    head: str = "lm_head"
    parameters: tuple[str, ...] = ()
    bare: bool = False
    strict: bool = False
    unless: str = ""
    towers: tuple[str, ...] = ()
    wants_head: bool = False
    whole: bool = False
    listed: bool = False
    outside: tuple[str, ...] = ("model.embed_tokens", "model.norm")
    owner: str = "model.layers"
    below: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    strange: bool = False
    ends: bool = False
    merges: frozenset[str] = frozenset()

    def listing(self, *needed: tuple[str, ...]) -> ModuleNames:
        """The same for a class that leaves out other names, needs these modules too, and lists what is missing."""
        return replace(self, needed=needed, skips=True, lists=True)

    def skipping(self, *needed: tuple[str, ...]) -> ModuleNames:
        """The same for a class that leaves out other names, and needs these modules too in every layer."""
        return replace(self, needed=needed, skips=True)

    def looked_up(self, stored: Iterable[str]) -> dict[str, None]:
        """The names by which the class looks for what is stored.

        >>> mapping = replace(DENSE, maps=True, strips="language_model.")
        >>> list(mapping.looked_up(["language_model.model.norm", "visual.merger.ln_q"]))
        ['model.norm']
        """
        if not self.maps:
            return dict.fromkeys(stored)
        return dict.fromkeys(name.replace(self.strips, "") for name in stored if names.other_tower(name) is None)

    def strange_tower(self, config: Mapping[str, Any]) -> str | None:
        """The type of the vision tower that a config asks for, if the class has none of that type.

        >>> replace(DENSE, towers=("pixtral",)).strange_tower({"vision_config": {"model_type": "clip_vision_model"}})
        'clip_vision_model'
        """
        section = config.get("vision_config")
        kind = section.get("model_type") if isinstance(section, Mapping) else None
        return kind if self.towers and isinstance(kind, str) and kind not in self.towers else None

    def leaves_out(self, module: str) -> bool:
        """Whether the class skips a module that it does not have.

        >>> DENSE.skipping().leaves_out("mtp.layers.0.mlp.down_proj"), DENSE.leaves_out("mtp.layers.0.mlp.down_proj")
        (True, False)
        """
        return self.skips and not self._has(names.generalise(module))

    def odd_parameter(self, tensors: Iterable[str]) -> str | None:
        """The first tensor of attention or an MLP that is neither a weight nor a scale: no class here has one.

        >>> DENSE.odd_parameter(["model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.sinks"])
        'model.layers.0.self_attn.sinks'
        """
        if self.skips or (self.open and not self.strange) or self.whole:
            return None
        if self.strict:
            odd = next((name for name in tensors if name.endswith(_ATTENTION_SCALES)), None)
            if odd is not None:
                return odd
        inside = ((name, *name.rpartition(".")[::2]) for name in tensors if ".layers." in name)
        owners = {"self_attn", "mlp"}
        return next((n for n, o, last in inside if names.last_part(o) in owners and last not in _PARAMETERS), None)

    def stranger(self, modules: Iterable[str], layers: int | None) -> str | None:
        """The first module that the class does not have: of another name, or of a layer beyond the last.

        >>> ModuleNames(frozenset({"mlp.up_proj"}), frozenset()).stranger(["model.layers.2.mlp.up_proj"], 2)
        'model.layers.2.mlp.up_proj'
        """
        if self.skips or self.open or self.whole:
            odd = (module for module in modules if module in self.lacks or self._is_misplaced(module, layers))
            return next(odd, None)
        known: dict[str, bool] = {}
        for module in modules:
            beyond = _is_beyond(module, layers)
            if (beyond and (self.ends or not self.listed)) or module in self.lacks:
                return module
            general = names.generalise(module)
            if general not in known:
                known[general] = self._has(general)
            if not known[general]:
                return module
        return None

    def _is_misplaced(self, module: str, layers: int | None) -> bool:
        """Whether a class that leaves out other names stops at a module: of a layer beyond the last, or a part that it
        merges where it has none.

        >>> merging = replace(DENSE.skipping(), merges=frozenset({"mlp.up_proj"}))
        >>> [merging._is_misplaced(f"model.layers.0.{n}", 2) for n in ("mlp.up_proj", "mlp.gate", "mlp.extra.up_proj")]
        [False, False, True]
        """
        if not (self.ends or self.merges) or names.other_tower(module) is not None or MTP_NAMES.search(module):
            return False
        if _is_beyond(module, layers):
            return self.ends
        part = names.generalise(module).partition("layers.*.")[2]
        merged = {names.last_part(name) for name in self.merges}
        return names.last_part(part) in merged and part not in self.merges and ".experts." not in part

    def strayed(self, modules: Iterable[str]) -> str | None:
        """The first module of a layer where all layers are below prefixes under which the class never looks for them.

        >>> known = ModuleNames(frozenset(), frozenset(), open=True, below=("model", ""), elsewhere=("language_model",))
        >>> known.strayed(["language_model.layers.0.mlp.up_proj"]), known.strayed(["layers.0.mlp.up_proj"])
        ('language_model.layers.0.mlp.up_proj', None)
        """
        first = None
        for module in modules if self.below else ():
            found = _LAYER.search(module)
            if found is not None and names.other_tower(module) is None and MTP_NAMES.search(module) is None:
                if module[: found.start()] not in self.elsewhere:
                    return None
                first = first or module
        return first

    def absent(
        self, modules: Collection[str], layers: int | None, *, tied: bool, quantized: bool = False
    ) -> str | None:
        """The first module that the class needs and that is not among these: nothing else fills its parameters. One
        that stops the load comes before any other.

        Parts that are stored merged stand for those that they are made of; experts are counted elsewhere.
        """
        if self.listed:
            return None
        if self.open:
            stored = tied or any(names.is_head(module) for module in modules)
            return self.head if self.wants_head and not stored else None
        # Who lists what is missing ties both ways: a head that is stored is the embedding too.
        table, *others = self.outside
        embedding = (table, "lm_head") if tied and self.lists else (table,)
        needed: list[tuple[str, ...]] = [embedding, *((name,) for name in others)]
        if self.head and not self.maps and not (tied and self.head == "lm_head"):
            needed.append((self.head,))
        parts = self._needed
        # A config may promise more layers than any list holds: no further one is looked at than the first that lacks.
        layered = (
            tuple(f"{self.owner}.{layer}.{name}" for name in names)
            for layer in range(layers if layers and parts else 0)
            for names in parts
        )
        every = chain(needed, layered)
        lacking = (names[0] for names in every if not any(self._filled(name, modules) for name in names))
        first = next(lacking, None)
        if first is None or not (self.lists and quantized) or self.stops_at(first, quantized=True):
            return first
        return next((name for name in lacking if self.stops_at(name, quantized=True)), first)

    def _filled(self, name: str, modules: Collection[str]) -> bool:
        """Whether something is stored for a module; who lists what is missing, or maps names, looks without the prefix
        too, and who lists it with the prefix once more."""
        if self.lists and f"model.{name}" in modules:
            return True
        bare = (self.lists or self.maps or self.bare) and name.removeprefix("model.") in modules
        return name in modules or bare or (not (self.lists or self.apart) and self._merged(name, modules))

    def unaccompanied(self, stored: Collection[str], layers: int | None) -> str | None:
        """The first tensor that a layer needs for what it holds, and that is not stored.

        >>> routed = replace(DENSE, beside=(("mlp.gate", "mlp.gate.bias"),))
        >>> routed.unaccompanied(["model.layers.0.mlp.gate.weight", "model.layers.2.mlp.gate.weight"], 2)
        'model.layers.0.mlp.gate.bias'
        """
        for module, tensor in self.beside:
            end = f".{module}.weight"
            for name in stored:
                found = _LAYER.search(name) if name.endswith(end) else None
                built = found is not None and not _is_beyond(name, layers)
                wanted = f"{name.removesuffix(end)}.{tensor}"
                if built and wanted not in stored:
                    return wanted
        return None

    def stops_at(self, absent: str, *, quantized: bool) -> bool:
        """Whether the load stops because nothing fills a module; else its numbers are made up, or left as they are."""
        return self.whole or (
            self.lists and quantized and absent.partition("layers.")[2].partition(".")[2] in self.linear
        )

    @property
    def _needed(self) -> list[tuple[str, ...]]:
        """What every layer has, in order: one of each."""
        merged = ("self_attn.qkv_proj", "mlp.gate_up_proj")
        plain = sorted(name for name in self.linear if "*" not in name and name not in merged)
        norms = sorted(name for name in self.others if name.endswith("norm"))
        return [*((name,) for name in (*norms, *plain)), *self.needed]

    @staticmethod
    def _merged(name: str, modules: Collection[str]) -> bool:
        merged = names.fused_layer(name)
        return merged is not None and merged in modules

    def _has(self, module: str) -> bool:
        """Whether a module with its numbers left out is one of the class, or one part below one."""
        if module in _OUTSIDE or module == self.head or (self.bare and f"model.{module}" in _OUTSIDE):
            return True
        owner, mark, inner = module.partition("layers.*")
        if not mark or owner not in ("", "model."):
            return False
        inner = inner.removeprefix(".")
        return not inner or inner in self.linear or inner in self.others or inner.rpartition(".")[0] in self.linear


def _is_beyond(module: str, layers: int | None) -> bool:
    found = _LAYER.search(module)
    return found is not None and layers is not None and int(found[1]) >= layers


#: What may be stored right below attention or an MLP: engines map scales, and skip what old exporters left.
_PARAMETERS = frozenset(
    {
        *("weight", "bias", "inv_freq", "output_scale", "prob_output_scale"),
        *(f"{part}{end}" for part in ("k", "v", "q", "kv", "p", "prob") for end in ("_scale", "_zero_point")),
        *(f"{part}_cache{end}" for part in ("k", "v", "kv") for end in ("_scale", "_zero_point")),
    }
)
_ATTENTION_SCALES = tuple(f".{part}_scale" for part in ("k", "v", "q", "kv", "output", "prob_output"))
_OUTSIDE = frozenset({"lm_head", "model.embed_tokens", "model.norm", "model", ""})
_ATTENTION = frozenset(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"))
_GATED = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
_MLP = frozenset(f"mlp.{part}" for part in _GATED)
_OTHERS = frozenset(
    {"input_layernorm", "post_attention_layernorm", "self_attn", "self_attn.attn", "self_attn.rotary_emb", "mlp"}
)
_HEAD_NORMS = frozenset({"self_attn.q_norm", "self_attn.k_norm"})

#: q, k, v and o, and norms: what experts or something else stand beside.
ATTENTION = ModuleNames(_ATTENTION, _OTHERS)
#: q, k, v and o, and a gated MLP: Llama and those like it, stored apart or merged.
DENSE = ModuleNames(_ATTENTION | _MLP, _OTHERS)
#: The same with norms on the heads.
DENSE_WITH_HEAD_NORMS = ModuleNames(DENSE.linear, DENSE.others | _HEAD_NORMS)


#: A class of which it is known only that it has a tower under its released names.
NO_PATCHES = ModuleNames(
    frozenset(),
    frozenset(),
    lacks=frozenset(f"{p}vision_tower.embeddings.patch_embedding" for p in ("", "model.")),
    open=True,
)
#: The same without an output head of its own.
NO_HEAD_NO_PATCHES = replace(NO_PATCHES, lacks=NO_PATCHES.lacks | {"lm_head"})


def experts(
    container: str,
    router: str,
    projections: tuple[str, ...] = _GATED,
    *,
    norms: bool = False,
    plain_router: bool = False,
) -> ModuleNames:
    """A decoder with experts in place of the MLP, stored one by one or stacked; a plain router is no linear layer."""
    inner = frozenset(f"{container}.*.{part}" for part in projections)
    stacked = frozenset({container, f"{container}.down_proj", f"{container}.gate_up_proj"})
    owner = container.rpartition(".")[0]
    others = _OTHERS | stacked | {owner} | (_HEAD_NORMS if norms else frozenset())
    linear = _ATTENTION | inner
    return ModuleNames(linear, others | {router}) if plain_router else ModuleNames(linear | {router}, others)
