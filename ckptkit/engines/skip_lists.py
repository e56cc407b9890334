"""How each engine reads a skip list: one list, and as many meanings as there are readers.

An entry is a module name to one engine, the start of a regular expression to the next and a shell pattern to a
third. Each engine's folder says which, by format; :meth:`Reading.matcher` turns entries into a question that is cheap
to ask for every module of a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, TypeVar

from ckptkit.engines.matchers import MATCHERS, Matcher, Style
from ckptkit.engines.name_maps import NameMap, numbered_on
from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away
from ckptkit.record import record

_REGEX_PREFIX = "re:"
_EXPERTS = ".experts"
_EXPERTS_DOT = f"{_EXPERTS}."
#: Output heads, that of a prediction layer among them.
_HEADS = ("lm_head", "shared_head.head")


_Fact = TypeVar("_Fact")
#: A quantization config -> whether it means a module to be quantized, the skip list aside.
Declares = Callable[[Mapping[str, Any]], Matcher]


@record
class Reading:
    """One engine's way with one format: the keys it reads (the first that is not empty counts) and their meaning.

    A key with dots is one inside an object. ``merges`` ones read all keys together.
    ``fuses`` engines stack q/k/v and gate/up and insist that the parts agree; ``experts_as_one`` ones leave all
    experts of a layer alone as soon as one is listed, ``experts_by_owner`` ones ask for them by the name of what holds
    them; ``head_left_alone`` ones never quantize the output head.
    ``names_in_memory`` ones know the names in memory only, where those differ; others map entries as they map stored
    names, ``maps_names_only`` ones only those that are no pattern. ``declares`` says which modules the config means,
    the skip list aside; None where that is what the format's own library says. ``unsaid`` are the entries that stand
    for a list that is missing or null; an empty one is a list.

    ``knows_parts`` holds, by fused layer, the beginnings of the classes that know its stored parts: all others ask for
    the fused layer by its own name alone. A fused layer that it does not hold is asked for by its parts.
    ``whole_too`` ones take an entry that names a fused layer for all of its parts. ``renames`` holds ends of stored
    names and what stands in their place in memory, ``renames_of`` the same by the beginning of a class's name,
    ``begins_of`` beginnings of stored names likewise, ``inner_of`` patterns of what stands inside them;
    ``numbered_on`` a part of layers that a class calls otherwise and numbers on from the last layer.
    ``maps_of`` holds, by the same, the names that a class maps stored ones to, and entries and targets like these; with
    ``maps_names_only`` patterns stay as they are. ``own_map`` is that of the class that is asked about.
    ``built_style`` is how entries are held against the names of what is built, fused layers and containers of experts
    among it, where ``style`` is for stored names alone: either does, but for experts, of which only containers have a
    name. ``merged_by_parts`` ones ask for what is stored merged by its parts. Entries that a class maps count without
    the beginning that it ``sheds`` as well. ``patterns_on_whole`` ones look for
    patterns and parts of names in a fused layer's own name, and for whole names in those of its parts too;
    ``splits_stars`` ones read a last ``*`` as the name before it, and what is below.
    ``nameless`` are beginnings of classes that ask for linear layers without a name, by which no entry finds them,
    ``nameless_heads`` those that ask so for the output head, and ``nameless_of`` holds what stands in the names of
    modules for which a class does;
    ``plain_of`` holds, by the same, what stands in the names of modules that a class builds plain whatever is listed.
    ``scheme_of`` tells schemes of a config apart by a module's name, where names of parts matter to that: None stands
    for no scheme at all, at which such an engine stops where a layer is quantized, and ``wants_targets`` ones at any
    linear layer. Entries are read with and without the beginning that is ``optional``, and mapped then.
    ``sizes_blocks`` tells whether a config says the sizes of blocks where an engine looks for those of merged layers,
    if that is one place for all. The first of ``below`` is put in front of entries, whatever their form, that begin
    with none of these. Who ``converts`` quantizes embeddings that the config lists for that; ``linear_routers`` are
    beginnings of classes whose routers are linear layers as any other.
    """

    style: Style
    keys: tuple[str, ...]
    merges: bool = False
    fuses: bool = False
    experts_as_one: bool = False
    experts_by_owner: bool = False
    head_left_alone: bool = False
    names_in_memory: bool = False
    maps_names_only: bool = False
    declares: Declares | None = None
    unsaid: tuple[str, ...] = ()
    knows_parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole_too: bool = False
    renames: Mapping[str, str] = field(default_factory=dict)
    renames_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    begins_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inner_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    numbered_on: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    maps_of: Mapping[str, NameMap] = field(default_factory=dict)
    own_map: NameMap | None = None
    built_style: Style | None = None
    merged_by_parts: bool = False
    sheds: str = ""
    patterns_on_whole: bool = False
    splits_stars: bool = False
    nameless: tuple[str, ...] = ()
    nameless_heads: tuple[str, ...] = ()
    nameless_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plain_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scheme_of: Callable[[Mapping[str, Any]], Callable[[str], str | None]] | None = None
    wants_targets: bool = False
    optional: str = ""
    sizes_blocks: Callable[[Mapping[str, Any]], bool] | None = None
    below: tuple[str, ...] = ()
    converts: bool = False
    linear_routers: tuple[str, ...] = ()

    def of_parts(self, below: tuple[str, ...]) -> Reading:
        """The same for a class that fuses nothing, and that looks for entries below a module."""
        return replace(self, fuses=False, whole_too=False, knows_parts={}, renames={}, optional="", below=below)

    def of_class(self, architecture: str | None) -> Reading:
        """The same for a model class, which may map entries."""
        found = (own for start, own in self.maps_of.items() if (architecture or "").startswith(start))
        own_map = next(found, None)
        return self if own_map is None else replace(self, own_map=own_map)

    @property
    def builds_heads(self) -> bool:
        """Whether a head that is on no list is built as any linear layer, whatever the targets of a config."""
        return self.declares is None and not self.head_left_alone

    def asked(self, architecture: str | None, layers: int | None = None) -> Callable[[str], str]:
        """The name by which a model class of so many layers asks for a stored module.

        >>> Reading(Style.EXACT, (), knows_parts={"qkv_proj": ("Gemma",)}).asked("LlamaForCausalLM")("a.q_proj")
        'a.qkv_proj'
        """
        headless = (architecture or "").startswith(self.nameless_heads)
        if self.nameless and (architecture or "").startswith(self.nameless):
            return lambda module: module if module.endswith(_HEADS) and not headless else ""
        known = self.knows_parts.items()
        unknown = [fused for fused, classes in known if not (architecture or "").startswith(classes)]
        own = _own(self.renames_of, architecture)
        renamed = tuple({**self.renames, **{end: new for ends in own for end, new in ends.items()}}.items())
        whole = {part: fused for fused in unknown for part in names.FUSED_GROUPS[fused]}

        begins = tuple(pair for found in _own(self.begins_of, architecture) for pair in found.items())
        inner = [(re.compile(p), new) for found in _own(self.inner_of, architecture) for p, new in found.items()]
        nameless = tuple(part for found in _own(self.nameless_of, architecture) for part in found)

        def name_of(module: str) -> str:
            if (headless and module.endswith(_HEADS)) or any(part in module for part in nameless):
                return ""
            begin = next((begin for begin in begins if module.startswith(begin[0])), None)
            if begin is not None:
                module = begin[1] + module.removeprefix(begin[0])
            for pattern, new in inner:
                module = pattern.sub(new, module)
            owner, _, last = module.rpartition(".")
            if last in whole and _EXPERTS_DOT not in module:
                return names.join(owner, whole[last])
            ending = next((end for end in renamed if module.endswith(end[0])), None)
            return module if ending is None else module.removesuffix(ending[0]) + ending[1]

        if self.own_map is not None:
            own_map = self.own_map
            return lambda module: name_of(own_map(module))
        found = name_of if whole or renamed or begins or inner or nameless or headless else _itself
        after = next(iter(_own(self.numbered_on, architecture)), None)
        return found if after is None or layers is None else lambda module: found(numbered_on(module, *after, layers))

    def plain(self, architecture: str | None) -> Matcher | None:
        """Which modules a model class builds plain whatever is listed; None where there are none.

        >>> plain = Reading(Style.EXACT, (), plain_of={"StableLm": (".self_attn.",)}).plain("StableLmForCausalLM")
        >>> plain("model.layers.0.self_attn.q_proj"), plain("model.layers.0.mlp.up_proj")
        (True, False)
        """
        found = tuple(part for parts in _own(self.plain_of, architecture) for part in parts)
        return (lambda module: any(part in module for part in found)) if found else None

    def whole(self, module: str) -> str | None:
        """The fused layer whose name on the list counts for a stored module; None where it does not, as for experts,
        which are asked for by the names of their parts.

        >>> reading = Reading(Style.EXACT, (), whole_too=True)
        >>> reading.whole("layers.0.mlp.up_proj"), reading.whole("layers.0.mlp.experts.0.up_proj")
        ('layers.0.mlp.gate_up_proj', None)
        """
        return names.fused_layer(module) if self.whole_too and _EXPERTS_DOT not in module else None

    def entries(self, block: Mapping[str, Any]) -> tuple[str, ...]:
        """The entries that this reader sees in a quantization config."""
        values = [_inside(block, key) for key in self.keys]
        lists = [value for value in values if isinstance(value, list) and value]
        if lists:
            read = lists if self.merges else lists[:1]
            texts = (entry for value in read for entry in value if isinstance(entry, str))
            placed = dict.fromkeys(map(self._placed, _in_two(texts) if self.splits_stars else texts))
            shed = (entry.removeprefix(self.sheds) for entry in placed) if self.own_map is not None else ()
            return tuple(dict.fromkeys((*placed, *shed)))
        return () if any(value is not None for value in values) else self.unsaid

    def broken(self, entry: str) -> str | None:
        """Why an entry stops this reader: one that compiles every entry stops at what is no regular expression.

        >>> Reading(Style.PREFIX_OR_SUFFIX, ()).broken("*.mlp.gate"), Reading(Style.GLOB, ()).broken("*.mlp.gate")
        ('nothing to repeat at position 0', None)
        """
        try:
            if self.style is Style.PREFIX_OR_SUFFIX and not may_run_away(entry):
                re.compile(entry)
        except re.error as error:
            return str(error)
        return None

    def _placed(self, entry: str) -> str:
        if not self.optional:
            entry = self._mapped(entry)
        return entry if not self.below or entry.startswith(self.below) else f"{self.below[0]}{entry}"

    def _mapped(self, entry: str) -> str:
        if self.own_map is None:
            return entry
        return self.own_map.of_entry(entry) if self.maps_names_only else self.own_map(entry)

    def matcher(self, entries: Sequence[str]) -> Matcher:
        """Whether a module is on the list, as a function of its name."""
        if self.optional:
            bare = [entry.removeprefix(self.optional) for entry in entries]
            entries = [*map(self._mapped, bare), *(self._mapped(f"{self.optional}{entry}") for entry in bare)]
        matches = self._without_head(MATCHERS[self.style](entries))
        if not (self.experts_as_one or self.experts_by_owner):
            return matches
        listed = {entry[: entry.find(_EXPERTS) + len(_EXPERTS)] for entry in entries if _EXPERTS in entry}

        def with_experts(name: str) -> bool:
            position = name.find(_EXPERTS_DOT)
            if position < 0:
                return matches(name)
            owner = name[: position + len(_EXPERTS)]
            return (self.experts_as_one and owner in listed) or (self.experts_by_owner and matches(owner))

        return with_experts

    def built_matcher(self, entries: Sequence[str]) -> Matcher | None:
        """Whether a module is listed by the name of what is built of it, alone or with others; None where those of
        stored modules are all that counts.

        >>> matches = Reading(Style.COMPONENTS, (), built_style=Style.STARS).built_matcher(["*.q_proj", "*.qkv_proj"])
        >>> matches("layers.0.q_proj"), matches("layers.0.o_proj"), matches("layers.0.mlp.experts.3.up_proj")
        (True, False, False)
        """
        if self.built_style is None:
            return None
        listed = MATCHERS[self.built_style](entries)

        def matches(name: str) -> bool:
            container = names.experts_owner(name)
            return listed(names.fused_layer(name) or name if container is None else container)

        return matches

    def _without_head(self, matches: Matcher) -> Matcher:
        return (lambda name: name.endswith(_HEADS) or matches(name)) if self.head_left_alone else matches


def _in_two(entries: Iterable[str]) -> Iterator[str]:
    """Entries, of which one that ends in ``*`` is two.

    >>> list(_in_two(["model.visual*", "lm_head", "model.visual.*"]))
    ['model.visual', 'model.visual.*', 'lm_head', 'model.visual.*']
    """
    for entry in entries:
        if len(entry) > 1 and entry.endswith("*") and not entry.endswith(".*"):
            yield entry[:-1]
            yield f"{entry[:-1]}.*"
        else:
            yield entry


def _inside(block: Mapping[str, Any], key: str) -> Any:
    """What stands under a key; dots lead into objects."""
    value: Any = block
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _own(of_classes: Mapping[str, _Fact], architecture: str | None) -> list[_Fact]:
    """What is said of a model class, by beginnings of names."""
    return [fact for start, fact in of_classes.items() if (architecture or "").startswith(start)]


def _itself(module: str) -> str:
    return module
