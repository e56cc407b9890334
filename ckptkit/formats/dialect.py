"""What a format is like, as data: how a dialect of it spells its config, its scales and its skip list.

Rules, views, fixes, cards and the command line ask these facts instead of asking for a format by its name, so that
they hold for formats that they have never heard of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ckptkit.formats.keys import ConfigKeys
from ckptkit.model.census import Role
from ckptkit.model.checkpoint import Part
from ckptkit.model.granularity import Granularity
from ckptkit.model.scheme import InputKind
from ckptkit.model.select import PatternKind
from ckptkit.record import record


@record
class Capabilities:
    """What a dialect can express so that its serving engines read it right.

    ``schemes`` pairs the kind of weight granularity with the kind of input. ``block_sizes`` is None when any is fine.
    With ``groups_match_blocks``, inputs of blocks must be in groups of as many elements as a block has columns, and
    with ``whole_columns`` a weight's columns must be whole blocks.
    ``input_bound`` is the usual upper bound of inputs where the dialect has one, None where inputs have no bound.
    ``other_storages`` names the layouts of modules in another quantization that it can hold beside FP8 ones.
    """

    schemes: frozenset[tuple[type[Granularity], InputKind]]
    kv_roles: frozenset[str]
    kv_granularities: frozenset[type[Granularity]]
    mixed_schemes: bool
    quantized_lm_head: bool
    block_sizes: frozenset[tuple[int, int]] | None
    scale_dtypes: frozenset[str]
    output_quantization: bool = False
    groups_match_blocks: bool = False
    whole_columns: bool = False
    stacked_experts: bool = False
    quantized_embeddings: bool = False
    other_storages: frozenset[str] = frozenset()
    input_bound: float | None = None


@record
class ScaleNames:
    """Names of one kind of scale, each relative to its module.

    ``written`` is what exporters write; ``loaded`` is all that engines map, the name that suits most of them first;
    ``older`` are further spellings that hold the same number, which ckptkit reads and engines may not.
    """

    written: str
    loaded: tuple[str, ...] = ()
    older: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every name under which the scale is understood, ``written`` first."""
        return tuple(dict.fromkeys((self.written, *self.loaded, *self.older)))


@record
class SkipList:
    """Where a config lists the modules that stay in high precision, and what its entries mean.

    ``keys`` are those of the quantization config that readers look at, the one that counts first. ``written`` are
    those that a writer fills.
    """

    keys: tuple[str, ...]
    written: tuple[str, ...]
    patterns: PatternKind

    @property
    def key(self) -> str:
        """The key to speak of."""
        return self.keys[0]

    def entries(self, block: Mapping[str, Any]) -> tuple[str, ...]:
        """The entries of a quantization config, under the first key that has any."""
        return next((found for key in self.keys if (found := texts(block.get(key)))), ())

    def present(self, block: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys to edit: those of the written ones that the config has a list under, else the first.

        One more list with new entries alone would hide the old one from engines that read one key before another.
        """
        return tuple(key for key in self.written if isinstance(block.get(key), list)) or self.written[:1]


@record
class Dialect:
    """One way of a format to spell a checkpoint.

    * ``format`` is the format's full name and ``name`` the dialect's, as people are shown them;
    * ``key`` is the one word by which facts about engines speak of it, and ``schema`` the JSON schema of its
      quantization config: the name of one that is shipped, or one of another package; None where there is none;
    * ``mode`` is the word for ``--mode``, and ``capabilities`` what can be written: both None for a dialect that is
      only read;
    * ``weight_scale``, ``input_scale``: names beside the weight; ``attention``: role ("k", "v", "q", "prob") -> names
      below the attention module, which say where a module's KV-cache scales sit; ``own_attention`` are ends of further
      names that the format's own library writes and reads, whatever engines do;
    * ``endings``: the ends of all names that the reader gives a role; ``parts`` those of modules in another
      quantization;
    * ``keys`` are those of the config that say more than which modules are left alone;
    * ``side_files`` are files beside config.json that belong to the format;
    * ``kv_floor`` is the least scale of a KV cache that some releases of the exporter write, None where there is none;
    * ``loose_scales``: whether a scale of a whole tensor may have any number of axes of length 1;
    * ``tool`` is what the exporter is called, and ``tag`` the tag of model cards.
    """

    format: str
    name: str
    key: str
    skip_list: SkipList
    weight_scale: ScaleNames
    input_scale: ScaleNames
    endings: Mapping[str, Role]
    mode: str | None = None
    capabilities: Capabilities | None = None
    attention: Mapping[str, ScaleNames] = field(default_factory=dict)
    own_attention: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)
    schema: str | Mapping[str, Any] | None = None
    keys: ConfigKeys = ConfigKeys()
    side_files: tuple[str, ...] = ()
    kv_floor: float | None = None
    loose_scales: bool = False
    tool: str = ""
    tag: str | None = None

    def __str__(self) -> str:
        return f"{self.format} ({self.name})"


def texts(value: Any) -> tuple[str, ...]:
    """The strings of a JSON list; nothing for anything else."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
