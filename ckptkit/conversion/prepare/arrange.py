"""Which modules share a tensor: experts stacked or one by one, q, k and v or gate and up as one projection or apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ckptkit.conversion.prepare.parts import Made, cut, joined
from ckptkit.conversion.prepare.prepared import TWO_FOLDERS, Prepared
from ckptkit.conversion.request import ConversionRequest
from ckptkit.engines.architectures import IN_TURN, has_outputs_first
from ckptkit.engines.dimensions import Dimensions
from ckptkit.errors import UsageError, plural
from ckptkit.formats.base import Changes
from ckptkit.model import names
from ckptkit.model.checkpoint import Checkpoint, QuantizedModule
from ckptkit.model.granularity import PerTensor
from ckptkit.storage.output import Drop
from ckptkit.storage.payload import TensorRef

#: Projections that are stored as one, and their parts from top to bottom.
_FUSED: Mapping[str, tuple[str, ...]] = {name: names.FUSED_GROUPS[name] for name in ("qkv_proj", "gate_up_proj")}
#: The same of stacked experts, as transformers stacks them.
_STACKED: Mapping[str, tuple[str, ...]] = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}


@dataclass
class _Work:
    """A checkpoint while its modules are arranged: what goes, what comes in the place of the first that goes."""

    checkpoint: Checkpoint
    made: Made = field(default_factory=Made)
    comes: dict[str, list[QuantizedModule]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    plain: dict[str, list[TensorRef]] = field(default_factory=dict)
    plain_gone: set[str] = field(default_factory=set)
    unquantized: dict[str, TensorRef] = field(default_factory=dict)

    def replace(self, members: list[str], results: list[QuantizedModule]) -> None:
        """Put modules in the place of others."""
        self.comes[members[0]] = results
        self.gone.update(members)

    def replace_plain(self, members: list[TensorRef], results: list[TensorRef]) -> None:
        """Put tensors in high precision in the place of others."""
        self.plain[members[0].name] = results
        self.plain_gone.update(member.name for member in members)
        for tensor in results:
            if tensor.name.endswith(".weight"):
                self.unquantized[tensor.module] = tensor

    def result(self) -> Checkpoint:
        """The checkpoint as it is then."""
        modules: dict[str, QuantizedModule] = {}
        for name, module in self.checkpoint.modules.items():
            modules.update((item.name, item) for item in self.comes.get(name, ()))
            if name not in self.gone:
                modules[name] = module
        plain: list[TensorRef] = []
        for tensor in self.checkpoint.plain:
            plain += self.plain.get(tensor.name, ())
            if tensor.name not in self.plain_gone:
                plain.append(tensor)
        kept = {
            name: tensor for name, tensor in self.checkpoint.unquantized.items() if tensor.name not in self.plain_gone
        }
        left = {tensor.module for tensor in plain if len(tensor.shape) == 3}
        stacked = tuple(owner for owner in self.checkpoint.fused_experts if owner in left)
        unquantized = {**kept, **self.unquantized}
        return replace(
            self.checkpoint, modules=modules, plain=tuple(plain), unquantized=unquantized, fused_experts=stacked
        )


def step(prepared: Prepared, request: ConversionRequest) -> Prepared:
    """Split or stack experts, split or fuse projections, as asked. Raises UsageError where there is nothing to do."""
    kinds = {"split": _split_experts, "stack": _stack_experts}, {"split": _split_projections, "fuse": _fuse_projections}
    for choice, known in zip((request.experts, request.fused), kinds, strict=True):
        if choice is None:
            continue
        checkpoint = prepared.checkpoint
        if prepared.made:
            message = "what is computed, cut or joined is not cut or joined again at once"
            raise UsageError(message, help=TWO_FOLDERS)
        work = _Work(checkpoint)
        known[choice](work)
        count = len(work.gone) + len(work.plain_gone)
        if not count and not work.made.refusals:
            raise UsageError(f"{checkpoint.container.label} has nothing to {choice}")
        reason = f"{plural(count, 'module')} {'are' if count > 1 else 'is'} cut or joined by rows: no byte changes"
        drops = tuple(Drop(tensor, why) for tensor, why in work.made.used.items())
        changes = Changes(reasons=(reason,))
        prepared = prepared.then(work.result(), work.made.tensors, drops, changes, tuple(work.made.refusals))
    return prepared


def _split_experts(work: _Work) -> None:
    """``experts.gate_up_proj`` [E, 2 I, K] and ``experts.down_proj`` as ``experts.0.gate_proj`` and so on."""
    for name, module in work.checkpoint.modules.items():
        if module.experts is not None:
            parts = _parts_of_stack(work, name, module.weight)
            if parts is not None:
                work.replace([name], list(cut(module, parts, work.made)))
    for tensor in work.checkpoint.plain:
        if len(tensor.shape) == 3 and tensor.module in work.checkpoint.fused_experts:
            parts = _parts_of_stack(work, tensor.name, tensor)
            if parts is not None:
                work.replace_plain([tensor], list(_rows_of_stack(work, tensor, parts)))


def _parts_of_stack(work: _Work, name: str, stack: TensorRef) -> dict[str, tuple[int, int]] | None:
    """What becomes of a stack: name -> its first row and its rows, over all experts; None, which is noted, if nothing.

    FP8 stacks are [experts, outputs, inputs] whatever the class; plain ones are as the class has them.
    """
    owner, _, last = name.rpartition(".")
    lasts = _STACKED.get(last, (last,))
    experts, rows, _ = stack.shape
    sizes = Dimensions.of(work.checkpoint.config)
    is_plain = name not in work.checkpoint.modules
    if is_plain and not has_outputs_first(sizes.architecture, sizes.hidden, name, stack.shape):
        expected, found = "[experts, outputs, inputs]", str(list(stack.shape))
        work.made.refuse(
            name, "its experts have their inputs along the rows, and cannot be cut by rows", expected, found
        )
    elif len(lasts) > 1 and (sizes.architecture or "").startswith(IN_TURN):
        work.made.refuse(name, "the rows of gate and up come in turn", "one after the other", str(sizes.architecture))
    elif any(tensor.name == f"{name}_bias" for tensor in work.checkpoint.plain):
        work.made.refuse(name, "its experts have biases, for which single ones have no names", "none", f"{name}_bias")
    elif rows % len(lasts):
        work.made.refuse(name, "has no two halves", "an even number of rows", str(rows))
    else:
        size = rows // len(lasts)
        return {
            f"{owner}.{expert}.{part}": (expert * rows + at * size, size)
            for expert in range(experts)
            for at, part in enumerate(lasts)
        }
    return None


def _rows_of_stack(work: _Work, stack: TensorRef, parts: Mapping[str, tuple[int, int]]) -> Iterator[TensorRef]:
    """Rows of a stack in high precision."""
    columns, reason = stack.shape[-1], f"rows of {names.last_part(stack.name)}"
    for part, (first, size) in parts.items():
        yield work.made.slice(stack, names.join(part, "weight"), first * columns, (size, columns), reason)


def _stack_experts(work: _Work) -> None:
    """The reverse, for experts that all have the same parts."""
    layers: dict[str, dict[int, dict[str, QuantizedModule]]] = {}
    for name, module in work.checkpoint.modules.items():
        owner = names.experts_owner(name)
        if owner is not None:
            number, _, part = name.removeprefix(f"{owner}.").partition(".")
            layers.setdefault(owner, {}).setdefault(int(number), {})[part] = module
    same = _equal_scales(work.checkpoint)
    for owner, experts in layers.items():
        wanted = {part for parts in _STACKED.values() for part in parts}
        whole = sorted(experts) == list(range(len(experts)))
        if not whole or any(set(parts) != wanted for parts in experts.values()):
            work.made.refuse(owner, "its experts cannot be stacked", f"{', '.join(sorted(wanted))} of all", "others")
            continue
        for last, parts in _STACKED.items():
            members = [experts[number][part] for number in sorted(experts) for part in parts]
            stack = joined(f"{owner}.{last}", members, len(experts), work.made, same)
            work.replace([member.name for member in members], [] if stack is None else [stack])


def _split_projections(work: _Work) -> None:
    """``qkv_proj`` as q, k and v, ``gate_up_proj`` as gate and up, with biases, quantized or not."""
    biases = {tensor.module: tensor for tensor in work.checkpoint.plain if tensor.name.endswith(".bias")}
    for name in [*work.checkpoint.modules, *work.checkpoint.unquantized]:
        owner, _, last = name.rpartition(".")
        module, weight = work.checkpoint.modules.get(name), work.checkpoint.unquantized.get(name)
        if last not in _FUSED or (module is not None and module.experts is not None):
            continue
        rows = module.weight.shape[0] if module is not None else weight.shape[0] if weight is not None else 0
        sizes = _sizes(work, name, last, rows)
        if sizes is None:
            continue
        firsts = [sum(sizes[:at]) for at in range(len(sizes))]
        parts = {
            names.join(owner, part): (first, size)
            for part, first, size in zip(_FUSED[last], firsts, sizes, strict=True)
        }
        if module is not None:
            work.replace([name], list(cut(module, parts, work.made)))
        for tensor in (weight, biases.get(name)):
            if tensor is not None:
                work.replace_plain([tensor], list(_plain_parts(work, tensor, parts)))


def _plain_parts(work: _Work, tensor: TensorRef, parts: Mapping[str, tuple[int, int]]) -> Iterator[TensorRef]:
    """Rows of a weight or a bias in high precision."""
    ending, columns = tensor.name.rpartition(".")[2], tensor.shape[1:]
    width = columns[0] if columns else 1
    for part, (first, size) in parts.items():
        name = names.join(part, ending)
        yield work.made.slice(
            tensor, name, first * width, (size, *columns), f"rows of {names.last_part(tensor.module)}"
        )


def _sizes(work: _Work, name: str, last: str, rows: int) -> list[int] | None:
    """The rows of each part; None, which is noted, where they do not fit the config."""
    if last == "gate_up_proj":
        if rows % 2 == 0:
            return [rows // 2, rows // 2]
        work.made.refuse(name, "has no two halves", "an even number of rows", str(rows))
        return None
    sizes = Dimensions.of(work.checkpoint.config)
    heads, kv_heads = sizes.heads or 0, sizes.kv_heads or 0
    head = rows // (heads + 2 * kv_heads) if heads else 0
    found = [heads * head, kv_heads * head, kv_heads * head]
    if sum(found) == rows and head and sizes.head_dim in (None, head):
        return found
    expected = f"rows for {heads} heads and {kv_heads} of keys and values"
    work.made.refuse(name, "does not have the rows that config.json promises", expected, str(rows))
    return None


def _fuse_projections(work: _Work) -> None:
    """The reverse, where all parts are stored, all quantized or none."""
    checkpoint = work.checkpoint
    plain = {tensor.name: tensor for tensor in checkpoint.plain}
    owners = dict.fromkeys(name.rpartition(".")[0] for name in (*checkpoint.modules, *checkpoint.unquantized))
    groups = {
        names.join(owner, fused): [names.join(owner, part) for part in parts]
        for owner in owners
        for fused, parts in _FUSED.items()
        if all(checkpoint.has_module(names.join(owner, part)) for part in parts)
    }
    same = _equal_scales(checkpoint)
    for name, members in groups.items():
        quantized = [checkpoint.modules[member] for member in members if member in checkpoint.modules]
        stored = [plain[f"{member}.bias"] for member in members if f"{member}.bias" in plain]
        if len(quantized) not in (0, len(members)) or len(stored) not in (0, len(members)):
            work.made.refuse(name, "its parts differ", "all quantized or none, all with a bias or none", "some")
            continue
        if quantized:
            found = joined(name, quantized, None, work.made, same)
            work.replace(members, [] if found is None else [found])
        else:
            _join_plain(work, names.join(name, "weight"), [checkpoint.unquantized[member] for member in members])
        if stored:
            _join_plain(work, names.join(name, "bias"), stored)


def _join_plain(work: _Work, name: str, tensors: list[TensorRef]) -> None:
    if len({(tensor.dtype, tensor.shape[1:]) for tensor in tensors}) > 1:
        work.made.refuse(name, "its parts differ in columns or types", "the same", "several")
        return
    shape = (sum(tensor.shape[0] for tensor in tensors), *tensors[0].shape[1:])
    joint = work.made.concat(
        tensors, name, shape, f"parts of {names.last_part(name.rpartition('.')[0])}, one after the other"
    )
    work.replace_plain(tensors, [joint])


def _equal_scales(checkpoint: Checkpoint) -> dict[TensorRef, TensorRef]:
    """Scales of whole tensors -> the first that has the same bytes."""
    found: dict[TensorRef, TensorRef] = {}
    first: dict[tuple[str, bytes], TensorRef] = {}
    wanted = [
        tensor
        for module in checkpoint.modules.values()
        if isinstance(module.scheme.weight.granularity, PerTensor)
        for tensor in (module.weight_scale, module.input_scale)
        if tensor is not None and tensor.numel == 1
    ]
    for tensor, data in checkpoint.container.read_many(wanted):
        found[tensor] = first.setdefault((tensor.dtype, data), tensor)
    return found
