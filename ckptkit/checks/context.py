"""What a rule sees: a container, the checkpoint read from it where that worked, and what several rules need of both.

Everything that more than one rule asks for is computed here once: a checkpoint may have 100,000 tensors, and a
hundred rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ckptkit.checks.fused import FusedGroup, fused_groups, may_be_uneven
from ckptkit.dtypes import HIGH_PRECISION
from ckptkit.engines.decoder_shapes import kind_in_stack
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.methods import KNOWN_METHODS
from ckptkit.engines.registry import class_by_model_type
from ckptkit.errors import Fault
from ckptkit.formats import config_block, registry
from ckptkit.formats.base import Format
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.reading import (
    BrokenConfig,
    FilesUnknown,
    NoReader,
    Readable,
    ReadOutcome,
    Unquantized,
    config_faults,
    located_in,
    read,
    sections_in,
)
from ckptkit.formats.recognise import Recognised
from ckptkit.model import names
from ckptkit.model.census import is_fp8
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.scale_table import Run, ScaleTable, still_held
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE, Container
from ckptkit.storage.payload import ByteRange, TensorRef

if TYPE_CHECKING:
    from ckptkit.checks.full_scan import WeightScan
    from ckptkit.engines.parallel import BlockedModule

#: Last parts of names under which some exporter stores a weight's scale, whatever the format.
WEIGHT_SCALE_ENDINGS = ("weight_scale", "weight_scale_inv", "scale_weight", "weight_quantizer.scale", "scale")


Value = TypeVar("Value")


@record
class Context:
    """One checkpoint under examination, and what came of reading it."""

    container: Container
    reading: ReadOutcome
    #: Runs of scales that were judged before, by where their bytes are stored.
    known_scales: Mapping[ByteRange, Run] = field(default_factory=dict, repr=False, compare=False)
    #: Scales whose values nobody looks at, by tensor name.
    unread: frozenset[str] = frozenset()
    #: Told of the bytes of each weight that was scanned, and of the bytes of all; first of none of them.
    on_scan: Callable[[int, int], None] = field(default=lambda nbytes, total: None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        container: Container,
        known_scales: Mapping[ByteRange, Run] | None = None,
        unread: frozenset[str] = frozenset(),
    ) -> Context:
        """Read a container as far as its config allows."""
        return cls(container, read(container), known_scales or {}, unread)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint where it was read, or what is left without values that were not; ``reading`` says why."""
        if isinstance(self.reading, BrokenConfig):
            return self.reading.rest
        return self.reading.checkpoint if isinstance(self.reading, Readable) else None

    @property
    def format(self) -> Format | None:
        """The format of a checkpoint that was read, all of it or the rest."""
        found = self.reading
        return found.format if isinstance(found, (Readable, BrokenConfig)) and self.checkpoint is not None else None

    @property
    def dialect(self) -> Dialect | None:
        """The facts about how the checkpoint is spelt, where some are known: there may be no reader all the same."""
        return None if isinstance(self.reading, (Unquantized, FilesUnknown)) else self.reading.dialect

    @property
    def has_reader(self) -> bool:
        """Whether a format that ckptkit reads claims the checkpoint, even if its config is broken."""
        return isinstance(self.reading, (Readable, BrokenConfig))

    @property
    def is_known_method(self) -> bool:
        """Whether some engine knows the method of quantization, or it is told by what only one tool writes."""
        return self.method in KNOWN_METHODS or self.recognised.method is not None

    @property
    def recognised(self) -> Recognised:
        """What is known of a checkpoint without a reader, by its files and names; nothing of any other."""
        return self.reading.recognised if isinstance(self.reading, (NoReader, Unquantized)) else Recognised()

    @property
    def may_be_fp8(self) -> bool:
        """Whether there is more to judge than files: a format with a reader, or FP8 weights that nothing declares."""
        if isinstance(self.reading, Unquantized):
            return bool(self.reading.faults)
        return not isinstance(self.reading, NoReader)

    def faults(self, *kinds: str) -> Iterator[Fault]:
        """The faults of these kinds that reading met, in files or in the config."""
        for kind in kinds:
            yield from self._faults_by_kind.get(kind, ())

    @cached_property
    def _faults_by_kind(self) -> dict[str, list[Fault]]:
        found: dict[str, list[Fault]] = {}
        for fault in (*self.container.faults, *self.reading_faults):
            found.setdefault(fault.kind, []).append(fault)
        return found

    @cached_property
    def reading_faults(self) -> tuple[Fault, ...]:
        """What reading met in the config, or why there is no checkpoint."""
        outcome = self.reading
        if isinstance(outcome, FilesUnknown):  # its faults are the container's
            return ()
        if isinstance(outcome, Readable):
            own = outcome.checkpoint.faults
        else:
            unread = Fault("config-unsupported", outcome.message, CONFIG_FILE, help=outcome.help)
            own = outcome.faults or (unread,)
        beside = [*config_faults(self.container, outcome)]
        kinds = {fault.kind for fault in beside}
        told = [fault for fault in own if fault.kind in kinds]  # two formats may have the same to say of one config
        more: list[Fault] = []
        for fault in beside:
            if fault not in told:
                more.append(fault)
                told.append(fault)
        return (*own, *more)

    @cached_property
    def modules(self) -> tuple[QuantizedModule, ...]:
        """Every quantized linear module, or none when the config could not be read; stacks of experts are apart."""
        every = self.checkpoint.modules.values() if self.checkpoint is not None else ()
        return tuple(module for module in every if len(module.weight.shape) == 2)

    def modules_where(self, condition: Callable[[QuantizedModule], bool]) -> Iterator[QuantizedModule]:
        """Those of :attr:`modules` that meet a condition, which is asked once for all modules that are alike.

        It may ask for anything but the numbers in their names, the shards and the offsets.
        """
        for kind in self.checkpoint.alike if self.checkpoint is not None else ():
            if len(kind.first.weight.shape) == 2 and condition(kind.first):
                yield from kind.modules

    @cached_property
    def blocked_kinds(self) -> tuple[BlockedModule, ...]:
        """The different block-quantized modules, layer and expert numbers generalised."""
        from ckptkit.engines.parallel import blocked_kinds

        every = self.checkpoint.alike if self.checkpoint is not None else ()
        return blocked_kinds(kind for kind in every if len(kind.first.weight.shape) == 2)

    @cached_property
    def stacks(self) -> tuple[QuantizedModule, ...]:
        """Every stack of experts, with one weight [E, N, K] and its scale."""
        every = self.checkpoint.modules.values() if self.checkpoint is not None else ()
        return tuple(module for module in every if module.experts is not None)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The parsed config.json; empty where there is none."""
        return self.container.config

    @cached_property
    def dimensions(self) -> Dimensions:
        """The sizes that config.json promises, and the model class: of none that is named what engines guess."""
        found = Dimensions.of(self.config)
        guessed = class_by_model_type(self.config.get("model_type")) if found.architecture is None else None
        return found if guessed is None else replace(found, architecture=guessed)

    @cached_property
    def located(self) -> config_block.Located | None:
        """The quantization config and where it sits: in config.json, or in a file that its format has beside it."""
        return located_in(self.reading, self.container)

    @cached_property
    def sections(self) -> tuple[config_block.Section, ...]:
        """Every place where readers of the format look for what the config says, the one that counts first."""
        return sections_in(self.reading, self.container)

    @property
    def section(self) -> config_block.Section:
        """The first of these places, or where it would be."""
        return self.sections[0] if self.sections else config_block.nowhere(registry.skip_keys()[:1])

    @property
    def block(self) -> Mapping[str, Any]:
        """The quantization config as written; empty when there is none."""
        return self.located.block if self.located is not None else {}

    @cached_property
    def method(self) -> str:
        """The normalised ``quant_method``; the empty string when there is none."""
        return config_block.quant_method(self.block)

    @property
    def dialect_key(self) -> str:
        """The word by which facts about engines speak of the checkpoint's dialect; its method where none is known."""
        return self.dialect.key if self.dialect is not None else self.method

    @cached_property
    def opaque_parts(self) -> Mapping[str, TensorRef]:
        """The tensors of modules in another quantization than FP8, by name."""
        parts = self.checkpoint.opaque_tensors() if self.checkpoint is not None else ()
        return {tensor.name: tensor for tensor in parts}

    @property
    def has_fp8_weights(self) -> bool:
        """Whether there are any :attr:`fp8_weights`; modules that were read have some."""
        return bool(self.checkpoint and self.checkpoint.modules) or bool(self.fp8_weights)

    @cached_property
    def fp8_weights(self) -> dict[str, TensorRef]:
        """Every tensor of an 8-bit float type with two dimensions or more, by name, whatever the config says.

        The scales of a module that the config declares in another quantization are none, and what has no reader has
        none at all: its FP8 tensors may be the scales of something else.
        """
        if isinstance(self.reading, NoReader):
            return {}
        tensors = self.container.tensors
        fp8 = set(filter(is_fp8, self.dtypes))
        found = {name: t for name, t in tensors.items() if t.dtype in fp8 and len(t.shape) > 1} if fp8 else {}
        return {name: t for name, t in found.items() if name not in self.opaque_parts} if self.opaque_parts else found

    @cached_property
    def raw_scales(self) -> dict[str, TensorRef]:
        """Tensors with a weight scale's name beside an FP8 weight, by name, whatever the format calls its scales."""
        tensors = self.container.tensors
        found = {}
        for name in self.fp8_weights:
            owner = name.removesuffix("weight").removesuffix(".")
            for ending in WEIGHT_SCALE_ENDINGS:
                scale = tensors.get(names.join(owner, ending))
                if scale is not None:
                    found[scale.name] = scale
        return found

    @cached_property
    def linear_names(self) -> tuple[str, ...]:
        """Every linear module in file order, quantized or not."""
        checkpoint = self.checkpoint
        return () if checkpoint is None else checkpoint.linear_names

    @cached_property
    def linear_kinds(self) -> tuple[str, ...]:
        """Of the linear modules that differ only in the numbers in their names the first."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            return ()
        found: dict[str, str] = {}
        for kind in checkpoint.alike:
            found.setdefault(kind.name, kind.first.name)
        for name in (*checkpoint.opaque, *checkpoint.unquantized):
            found.setdefault(names.generalise(name), name)
        return tuple(found.values())

    @cached_property
    def names_in_memory(self) -> Mapping[str, str]:
        """Linear modules of a multimodal model that transformers gives another name than they are stored under."""
        undeclared = (tensor.module for tensor in (self.checkpoint.stored_only if self.checkpoint else ()))
        return names.in_memory((*self.linear_names, *undeclared), self.config)

    @cached_property
    def dtypes(self) -> frozenset[str]:
        """The types of all stored tensors."""
        return frozenset([tensor.dtype for tensor in self.container.tensors.values()])

    @cached_property
    def decoder_weights(self) -> Mapping[tuple[str, tuple[int, ...]], list[TensorRef]]:
        """The weights of the language model's main stack that have one kind of name and one shape."""
        readable = {dtype for dtype in self.dtypes if dtype in HIGH_PRECISION or is_fp8(dtype)}
        found: dict[tuple[str, tuple[int, ...]], list[TensorRef]] = {}
        for group in self._weights_alike:
            first = group[0]
            kind = kind_in_stack(first.module) if first.dtype in readable and first.name.endswith(".weight") else None
            if kind is not None:
                found.setdefault((kind, first.shape), []).extend(group)
        return found

    @property
    def _weights_alike(self) -> Iterator[Sequence[TensorRef]]:
        """Every tensor that may be a weight; those that differ in numbers in their names only are together."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            yield from ((tensor,) for tensor in self.container.tensors.values())
            return
        yield from ([module.weight for module in kind.modules] for kind in checkpoint.alike)
        yield from ((tensor,) for tensor in (*checkpoint.plain, *checkpoint.stored_only, *checkpoint.foreign))
        yield from ((tensor,) for tensor in checkpoint.opaque_tensors())

    @cached_property
    def _parts_of_names(self) -> tuple[Mapping[str, None], Mapping[str, str]]:
        """The owners of all tensors, and the last parts of their names with the first tensor that has each."""
        owners: dict[str, None] = {}
        endings: dict[str, str] = {}
        for name in self.container.tensors:
            owner, _, last = name.rpartition(".")
            owners[owner] = None
            if last not in endings:
                endings[last] = name
        return owners, endings

    @cached_property
    def module_names(self) -> tuple[str, ...]:
        """The owner of every tensor, each once, in file order, whatever the config says."""
        return tuple(self._parts_of_names[0])

    @property
    def endings(self) -> Mapping[str, str]:
        """Every last part of the names of tensors, with the first tensor that has it: a few, however many tensors."""
        return self._parts_of_names[1]

    @cached_property
    def experts(self) -> dict[str, set[str]]:
        """Container of routed experts -> the numbers of the experts that are stored, as written."""
        found: dict[str, set[str]] = {}
        for name in self.module_names:
            layer, inside, rest = name.partition(".experts.")
            if inside:
                number = rest.partition(".")[0]
                if layer in found:
                    found[layer].add(number)
                else:
                    found[layer] = {number}
        return {f"{layer}.experts": numbers for layer, numbers in found.items()}

    @cached_property
    def outside_experts(self) -> tuple[str, ...]:
        """The modules that are no part of a routed expert: a few thousand even where experts make 100,000."""
        return tuple(name for name in self.module_names if ".experts." not in name)

    @cached_property
    def fused_groups(self) -> tuple[FusedGroup, ...]:
        """Every group of two stored modules or more that engines load as one layer."""
        return () if self.checkpoint is None else fused_groups(self.checkpoint)

    @cached_property
    def uneven_groups(self) -> tuple[FusedGroup, ...]:
        """Those of :attr:`fused_groups` whose parts do not have one scheme or none."""
        if self.checkpoint is None or not may_be_uneven(self.checkpoint):
            return ()
        return tuple(group for group in self.fused_groups if not group.uniform)

    @cached_property
    def _memory(self) -> dict[str, Any]:
        return {}

    def remembered(self, name: str, compute: Callable[[], Value]) -> Value:
        """What several rules of a family need, computed once under a name that they share."""
        if name not in self._memory:
            self._memory[name] = compute()
        found: Value = self._memory[name]
        return found

    @cached_property
    def scale_values(self) -> ScaleTable:
        """Every scale's values by tensor name, read once, neighbours in one read."""
        return self._table(self.raw_scales.values() if self.checkpoint is None else self.checkpoint.scale_tensors())

    @cached_property
    def orphan_values(self) -> ScaleTable:
        """The same of scales that belong to no quantized module."""
        return self._table(() if self.checkpoint is None else self.checkpoint.orphans)

    def _table(self, wanted: Iterable[TensorRef]) -> ScaleTable:
        # What a truncated shard no longer holds cannot be judged; that it is truncated is CK102.
        return ScaleTable(self.container, still_held(self.container, wanted, self.unread), self.known_scales)

    @cached_property
    def weight_scans(self) -> dict[str, WeightScan]:
        """What one pass over every FP8 weight found, by tensor name. This reads the whole model."""
        from ckptkit.checks.full_scan import scan_weights

        total = sum(module.weight.nbytes for module in self.modules)
        self.on_scan(0, total)
        return scan_weights(self.container, self.modules, progress=lambda nbytes: self.on_scan(nbytes, total))
