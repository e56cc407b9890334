"""Which file each tensor of a result goes to: the shard that it comes from, or shards of a size that the user names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ckptkit.edits import layout
from ckptkit.errors import ConversionRefused, Fault, UsageError
from ckptkit.formats import config_block
from ckptkit.formats.base import Draft
from ckptkit.storage.agreement import OTHER_SETS
from ckptkit.storage.container import CONFIG_FILE, SHARD_SUFFIX, Container
from ckptkit.storage.index import INDEX_FILE
from ckptkit.storage.output import OutputFile, OutputShard, OutputTensor, VirtualContainer
from ckptkit.storage.payload import ByteRange, Inline

METADATA_FORMAT = {"format": "pt"}

_STEM = "model"
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
#: What the parts of a module add to its name, or to that of a stack of experts.
_PART = re.compile(
    r"(?:\.(?:weight|bias)|[._](?:weight_|input_|output_)?(?:global_)?scales?(?:_inv|_2)?|\.weight_\w+|_blocks|_bias)$"
)


def shard_bytes(size: int | str) -> int:
    """The most bytes of tensors in a shard: a number, or a text with a unit as Hugging Face's libraries take it.

    Raises UsageError for what is neither.

    >>> shard_bytes("5GB"), shard_bytes("1.5 KiB"), shard_bytes(7)
    (5000000000, 1536, 7)
    """
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is not None:
        size = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()])
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(
            f"{size!r} is no size of shards", help='give a number with its unit, as in "5GB", "500MiB" or "5000000000B"'
        )
    return size


def virtual_container(container: Container, draft: Draft, limit: int | None) -> VirtualContainer:
    """The files of the result: shards, config, index, and what lies beside them.

    There is a shard for each of the source's, or with ``limit`` as many as that leaves, by Hugging Face's names; one
    shard alone has then no index, unless another weight file lies beside it, which would be taken for a shard.
    Raises ConversionRefused where a file beside the shards has the name of one.
    """
    shards = _as_stored(container, draft) if limit is None else _by_size(container, draft, limit)
    config = {**config_block.replaced(container.config, draft.quantization_config), **draft.config}
    files = [OutputFile(CONFIG_FILE, Inline(layout.config_text(config).encode("utf-8")))]
    own = draft.side_files
    beside = any(map(_may_be_a_shard, (entry.name for entry in container.side_files)))
    if len(shards) > 1 or beside or (limit is None and container.index is not None):
        files.append(OutputFile(INDEX_FILE, Inline(layout.index_text(container.index, shards))))
    files += [OutputFile(name, Inline(data)) for name, data in own.items() if data is not None]
    kept = [entry for entry in container.side_files if entry.name not in own]
    files += [OutputFile(entry.name, ByteRange(entry.name, 0, entry.size)) for entry in kept]
    taken = {shard.file for shard in shards}
    faults = [
        Fault("file-name-taken", "a new shard would have the name of this file", file.file)
        for file in files
        if file.file in taken
    ]
    if faults:
        help_text = "move files that are not part of the model out of the folder"
        raise ConversionRefused(f"{container.label}: two files would have one name", faults=faults, help=help_text)
    return VirtualContainer(shards, tuple(files))


def _may_be_a_shard(name: str) -> bool:
    """Whether a file would be taken for a shard of the model where no index says otherwise."""
    return name.endswith(SHARD_SUFFIX) and "/" not in name and not name.startswith(OTHER_SETS)


def _as_stored(container: Container, draft: Draft) -> tuple[OutputShard, ...]:
    """A shard for each of the source's that something is left for."""
    by_shard: dict[str, list[OutputTensor]] = {header.shard: [] for header in container.headers}
    for tensor in draft.tensors:
        by_shard[tensor.inputs[0].shard if tensor.inputs else container.headers[0].shard].append(tensor)
    return tuple(
        layout.lay_out(header.shard, by_shard[header.shard], {**(header.metadata or {}), **METADATA_FORMAT})
        for header in container.headers
        if by_shard[header.shard] or not header.tensors
    )


def _by_size(container: Container, draft: Draft, limit: int) -> tuple[OutputShard, ...]:
    """Shards of at most ``limit`` bytes of tensors, named as Hugging Face's libraries name them."""
    metadata: dict[str, str] = {}
    for header in reversed(container.headers):
        metadata.update(header.metadata or {})
    metadata.update(METADATA_FORMAT)
    groups = split(sorted(draft.tensors, key=layout.place), limit)
    return tuple(
        layout.lay_out(_file_name(number, len(groups)), tensors, metadata)
        for number, tensors in enumerate(groups, start=1)
    )


def _file_name(number: int, count: int) -> str:
    return f"{_STEM}{SHARD_SUFFIX}" if count == 1 else f"{_STEM}-{number:05d}-of-{count:05d}{SHARD_SUFFIX}"


def split(tensors: Iterable[OutputTensor], limit: int) -> list[list[OutputTensor]]:
    """Tensors in groups of at most ``limit`` bytes, filled in order as ``huggingface_hub`` fills shards.

    The parts of a module count as one tensor, at the place of its first part, where they fit into one group. A tensor
    that is larger than the limit has a group of its own, which comes before the one that was being filled.
    """
    modules: dict[str, list[OutputTensor]] = {}
    for tensor in tensors:
        modules.setdefault(_PART.sub("", tensor.name), []).append(tensor)
    found: list[list[OutputTensor]] = []
    open_group: list[OutputTensor] = []
    used = 0
    for unit in (unit for parts in modules.values() for unit in _units(parts, limit)):
        nbytes = _nbytes(unit)
        if nbytes > limit:
            found.append(list(unit))
            continue
        if used + nbytes > limit:
            found.append(open_group)
            open_group, used = [], 0
        open_group.extend(unit)
        used += nbytes
    return [*found, open_group] if open_group or not found else found


def _units(parts: Sequence[OutputTensor], limit: int) -> Iterable[Sequence[OutputTensor]]:
    """A module's parts together, or each alone where they do not fit into one shard."""
    return [parts] if _nbytes(parts) <= limit else [[part] for part in parts]


def _nbytes(tensors: Iterable[OutputTensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
