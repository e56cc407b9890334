"""What is known about an engine, as data: its releases, what it reads, what it has, and what defects do to it.

An engine is a table of facts; only one that goes by what is stored is followed by a function of its own. Each fact is
known of some release, and in some way: it was run here, read in the engine's source, or reported. What no table says is
unknown, and unknown is never taken for "loads".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from ckptkit.engines.attention import BY_CONFIG, Attention
from ckptkit.engines.dialects import fact_of, is_among
from ckptkit.engines.launch import Launch
from ckptkit.engines.releases import ALWAYS, Evidence, Range, Release
from ckptkit.record import record

if TYPE_CHECKING:
    from ckptkit.engines.finer_blocks import FinerBlocks
    from ckptkit.engines.kernels import Kernel
    from ckptkit.engines.key_demands import KeyDemand
    from ckptkit.engines.layers import Layer
    from ckptkit.engines.names import ModuleNames
    from ckptkit.engines.prediction import Drafts
    from ckptkit.engines.remarks import Remark
    from ckptkit.engines.seen import Reproduced
    from ckptkit.engines.skip_lists import Reading
    from ckptkit.engines.stand_in import StandIn
    from ckptkit.engines.support import Judgement, Support
    from ckptkit.storage.container import Container

    #: What an engine makes of a container in a release, told whether its config was understood.
    ByStorage: TypeAlias = Callable[[Container, "Release", bool], Iterator[Judgement]]


class Outcome(str, Enum):
    """What happens when an engine meets a defect, the worst first.

    ``error``: it stops. ``silent``: it runs and its numbers are wrong, with no word about it. ``warning``: the same
    with a line in the log. ``unknown``: it runs, and nobody can tell whether its numbers are those that were meant.
    ``slow``: right, on a slower path. ``ok``: checked, and nothing happens.
    """

    ERROR = "error"
    SILENT = "silent"
    WARNING = "warning"
    UNKNOWN = "unknown"
    SLOW = "slow"
    OK = "ok"

    @property
    def harmful(self) -> bool:
        """Whether somebody suffers at all."""
        return self is not Outcome.OK


@record
class Known:
    """What one defect does.

    ``versions`` None: known of the release that the engine's outcomes were held against, and not limited otherwise.
    ``formats`` restricts it to dialects of formats, by their keys; ``architectures`` to classes that begin so.
    ``layers`` are the kinds of layers that it happens in, ``leaves_out`` those that the engine loads nothing of
    then, so that no other defect in them matters to it. ``option`` is a setting under which alone it happens, and
    ``gpus`` the kinds of hardware. ``at_request`` says that a load shows nothing of it, but the first request, or the
    first token that is drafted; ``regardless`` that it happens whatever is left out: before any tensor is looked at,
    or at a tensor's name. ``how`` overrides how the release was examined, ``where`` is the place in its source, or a
    report.
    """

    outcome: Outcome
    note: str = ""
    versions: Range | None = None
    formats: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    option: str = ""
    gpus: tuple[str, ...] = ()
    at_request: bool = False
    how: Evidence | None = None
    leaves_out: tuple[Layer, ...] = ()
    regardless: bool = False
    where: str = ""


#: Rule code, or ``code/variant`` -> what its defect does. Of rows that fit, those for a class go first, and of these
#: those that ask for most (a format, a kind of layer); an empty tuple says that the variant does nothing. A variant
#: that is not listed is like the defect itself.
Outcomes = Mapping[str, tuple[Known, ...]]


def listed(table: Outcomes, key: str) -> tuple[Known, ...] | None:
    """What a table says of a defect or a variant, or else of what it is a variant of; None where it says nothing.

    >>> listed({"CK105": ()}, "CK105/elsewhere"), listed({"CK105/elsewhere": ()}, "CK105/here")
    ((), None)
    """
    while key not in table and "/" in key:
        key = key.rpartition("/")[0]
    return table.get(key)


def rows_of(table: Outcomes, key: str) -> tuple[Known, ...]:
    """The rows of a defect or a variant, or else of what it is a variant of.

    >>> rows_of({"CK105": (Known(Outcome.OK),)}, "CK105/elsewhere")[0].outcome.value
    'ok'
    """
    return listed(table, key) or ()


#: Key of a dialect -> how the engine reads its skip list.
SkipLists = Mapping[str, "Reading"]


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Splitting(Enum):
    """How an engine splits a model over devices: not at all, by heads, or by heads and whole blocks of scales."""

    NONE = "none"
    HEADS = "heads"
    BLOCKS = "blocks"


class ByModelType(Enum):
    """When an engine chooses the model class by ``model_type``: never, so that it stops where no architecture is named;
    where none is named; or always."""

    NEVER = "never"
    UNNAMED = "where no architecture is named"
    ALWAYS = "always"


@record
class Eager:
    """Where an engine runs a model without CUDA graphs, by itself or because it has to be told to.

    ``versions`` are releases for which that is known, ``architectures`` beginnings of class names, ``gpus`` kinds of
    hardware, ``others`` quantizations other than FP8; empty means any. ``where`` is in its source, or a report.
    """

    why: str
    where: str
    versions: Range = ALWAYS
    architectures: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    by_itself: bool = False


@record
class Demands:
    """What a reader wants of a checkpoint, in releases of a range.

    ``takes`` are the ends of names of what a quantizer stores beside weights that it has a use for, ``drops`` those of
    what it throws away: no defect there matters to it, and at any other it stops, in its ``words`` before the name, if
    it has any; what belongs to a quantization other than FP8 is not among these. ``keys`` are those of the config
    without which it stops, with dots for one in an object of it, ``some`` those of which one has to hold something,
    ``dtypes`` types that it does not know. After one of the parts of names in ``numbered`` it takes the end of a name
    for a number, and ``single`` are the ends of names of single values, of which it takes no more than one dimension.
    """

    takes: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    words: str = ""
    dtypes: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    numbered: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    versions: Range = ALWAYS


@record
class OneGroup:
    """That an engine takes one group of a config for every module: that of this ``name``.

    ``others`` says what becomes of modules whose scheme is another one, ``without`` what it does with several groups
    of which none has the name.
    """

    name: str
    others: str
    without: str


@record
class Engine:
    """One consumer of checkpoints.

    ``releases`` are those that were examined, the newest last. ``reads`` holds the keys of dialects, ``unread`` those
    of others with the reason; what neither names is unknown; ``follows_kv_cache`` those whose declaration of an FP8
    KV cache it follows without being told. ``package`` is what it is called on the package index; ``launch`` says how
    it is started, None for what serves nothing or is not known.
    ``architectures`` are the model classes that it has, None where any will do; ``by_model_type`` says when the model
    type in config.json chooses one; ``modules`` are those whose names of modules are known. The tables are functions,
    so that they are loaded when somebody asks.
    ``finer_blocks`` says where experts are split inside blocks, ``eager`` where models run without CUDA graphs,
    ``remarks`` what is worth a word before a sound checkpoint is served, ``experts_left_out`` by dialect the classes of
    which it loads no experts that are stored one by one, ``experts_one_by_one`` those of which it loads no
    others, ``newer`` from which release on it has a model class, for those that the first release examined had not.
    ``stand_in`` is what serves classes that it has not, ``attention`` says how it finds heads. ``model_types`` are
    those in config.json that it knows, each with the release that brought it, or an empty text for the first that was
    examined; empty where it goes by none.
    ``wanted_keys`` holds, by the language model's type, keys of config.json without which the first request stops: an
    object's name, and what it has to hold where it is there; an empty name stands for the language model's own keys,
    without which the load stops. ``key_demands`` are what else it wants of such keys, likewise by type.
    ``demands`` says, by dialect and under an empty key for no quantization at all, what the engine stops at whatever
    the scheme is; it may hold some dialects only. Of several the first counts that holds for a release. ``one_group``
    holds the dialects of which it takes one group of a config for every module.
    ``drafts`` says what becomes of layers that predict, None where they are layers as all others, or not known;
    ``drafts_left_out`` are classes that never build them. One that ``lists_unexpected`` tensors leaves out what its
    class has no place for, and one that ``loads_every_file`` takes weight files that no index names.
    One that goes ``by_storage`` takes every scale that is stored, whatever the config says of its module: the function
    says what it makes of a container in a release, told whether its config was understood. Nobody else then judges its
    model classes and demands.
    One that keeps plain tensors in the types in which they are stored ``keeps_types``: of which classes, and whether
    their norms give back the type that they got.
    An engine ``on_request`` is spoken of only to who asks for it by name: what it makes of a checkpoint says nothing of
    those that serve it.
    """

    name: str
    label: str
    releases: tuple[Release, ...]
    reads: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)
    follows_kv_cache: frozenset[str] = frozenset()
    splitting: Splitting = Splitting.NONE
    by_model_type: ByModelType = ByModelType.NEVER
    outcomes: Callable[[], Outcomes] = lambda: _NOTHING
    skip_lists: Callable[[], SkipLists] = lambda: _NOTHING
    support: Callable[[], tuple[Support, ...]] = tuple
    kernels: Callable[[], tuple[Kernel, ...]] = tuple
    package: str | None = None
    launch: Launch | None = None
    finer_blocks: FinerBlocks | None = None
    eager: Callable[[], tuple[Eager, ...]] = tuple
    remarks: Callable[[], tuple[Remark, ...]] = tuple
    experts_left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    experts_one_by_one: Mapping[str, frozenset[str]] = field(default_factory=dict)
    architectures: Callable[[], frozenset[str] | None] = frozenset
    newer: Mapping[str, str] = field(default_factory=dict)
    stand_in: StandIn | None = None
    attention: Attention = BY_CONFIG
    model_types: Callable[[], Mapping[str, str]] = lambda: _NOTHING
    wanted_keys: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    key_demands: Mapping[str, KeyDemand] = field(default_factory=dict)
    modules: Callable[[], Mapping[str, ModuleNames]] = lambda: _NOTHING
    drafts: Drafts | None = None
    drafts_left_out: frozenset[str] = frozenset()
    lists_unexpected: bool = False
    loads_every_file: bool = False
    reproduced: Callable[[], Reproduced] = lambda: _NOTHING
    demands: Callable[[], Mapping[str, tuple[Demands, ...]]] = lambda: _NOTHING
    keeps_types: Callable[[], Mapping[str, bool]] = lambda: _NOTHING
    one_group: Mapping[str, OneGroup] = field(default_factory=dict)
    on_request: bool = False
    by_storage: Callable[[], ByStorage] | None = None

    @property
    def release(self) -> Release:
        """The newest release that was examined."""
        return self.releases[-1]

    def stands_in_for(self, architecture: str | None) -> bool:
        """Whether a model class is served by another one's code."""
        return self.stand_in is not None and architecture in self.stand_in.classes

    def served_as(self, architecture: str | None) -> str | None:
        """The class by which the engine's tables speak of a model class."""
        return self.stand_in.name if self.stand_in is not None and self.stands_in_for(architecture) else architecture

    def release_for(self, table: str) -> Release:
        """The newest release that a table was held against."""
        return next((r for r in reversed(self.releases) if not r.covers or table in r.covers), self.release)

    @cached_property
    def codes(self) -> frozenset[str]:
        """The codes that its outcomes speak of, variants left aside."""
        return frozenset(key.partition("/")[0] for key in self.outcomes())

    def demands_of(self, dialect: str) -> Demands | None:
        """What the newest release wants of a dialect; None where that is not known."""
        release = self.release_for("support")
        return next((found for found in fact_of(dialect, self.demands()) or () if found.versions.holds(release)), None)

    def reader_of(self, dialect: str) -> bool | str | None:
        """Whether the engine reads a dialect: True, the reason why not, or None when that is not known."""
        why_not = fact_of(dialect, self.unread)
        return why_not if why_not is not None else True if is_among(dialect, self.reads) else None

    def skip_list(self, dialect: str) -> Reading | None:
        """How the engine reads the skip list of a dialect; None when it does not, or that is not known."""
        return fact_of(dialect, self.skip_lists()) if self.reader_of(dialect) is True else None


def lazily(module: str, name: str) -> Callable[[], Any]:
    """A table of another module, imported when it is asked for."""
    return lambda: getattr(importlib.import_module(module), name)


@record
class Effect:
    """What one defect does in one engine. ``versions`` says for which ones that is known, in words or as a range.

    ``current`` says whether it holds for the newest release that was examined, as it is usually run, ``at_request``
    that a load shows nothing of it, ``leaves_out`` what is not loaded then, ``regardless`` that it happens whatever is
    left out, ``gpus`` the kinds of hardware on which alone that release does so, and ``of_some`` that it is known to
    hold for some releases only.
    """

    engine: str
    versions: str
    outcome: Outcome
    note: str = ""
    current: bool = True
    at_request: bool = False
    leaves_out: tuple[Layer, ...] = ()
    gpus: tuple[str, ...] = ()
    of_some: bool = False
    regardless: bool = False

    def to_json(self) -> dict[str, Any]:
        """As described by ``schemas/report.json``."""
        return {
            "engine": self.engine,
            "versions": self.versions,
            "outcome": self.outcome.value,
            "note": self.note,
        }
