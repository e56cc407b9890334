"""Whether shards and index tell the same story: names over all shards, against each other and against the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckptkit.errors import Fault, excerpt
from ckptkit.storage.header import Header
from ckptkit.storage.index import INDEX_FILE, Index
from ckptkit.storage.source import FileEntry

#: The kind of the fault of a weight file that is no part of the model.
UNLISTED = "shard-unlisted"
#: What a model in one file is called: some look for it before they look for an index.
ONE_FILE = "model.safetensors"
#: How names of weight files begin that are no shards beside others: a model in Mistral's own format, and adapters.
OTHER_SETS = ("consolidated", "adapter_")
_INDEX_END = ".safetensors.index.json"


def choose_shards(
    entries: Mapping[str, FileEntry], present: Sequence[str], index: Index | None
) -> tuple[list[str], list[Fault]]:
    """Which safetensors files make up the model: those of the index, or else all those ``present`` at the top.

    What Mistral's own tools or an adapter's call their files belongs to the model only where there is nothing else.
    """
    if index is None:
        own = [name for name in present if not name.startswith(OTHER_SETS)] or list(present)
        beside = [
            Fault(UNLISTED, "a weight file of another set lies beside the model's", name, None, "no such file")
            for name in present
            if name not in own
        ]
        return own, [*_index_absent(own, entries), *beside]
    wanted = index.shards
    missing = [
        Fault(
            "shard-missing",
            "the index names a shard that is not in the folder",
            shard,
            expected="a file",
            found="nothing",
            help="the download broke off; fetch the shard again",
        )
        for shard in wanted
        if shard not in entries
    ]
    unlisted = [
        Fault(UNLISTED, "a weight file that the index does not name", name, None, f"in {INDEX_FILE}", "not in it")
        for name in sorted(set(present) - set(wanted))
    ]
    return [shard for shard in wanted if shard in entries], missing + unlisted


def _index_absent(present: Sequence[str], entries: Iterable[str]) -> Iterator[Fault]:
    """Several shards without an index of any name: diffusers and Mistral call theirs otherwise."""
    stems = [name.removesuffix(_INDEX_END) for name in entries if name.endswith(_INDEX_END) and name != INDEX_FILE]
    if len(present) > 1 and not any(all(name.startswith(stem) for name in present) for stem in stems):
        yield Fault(
            "index-absent",
            f"{len(present)} shards but no {INDEX_FILE}",
            INDEX_FILE,
            expected="an index",
            found="none",
            help="several shards are loaded by their index; rebuild it",
        )


def compare_names(headers: Sequence[Header], index: Index | None) -> list[Fault]:
    """Faults of names: two shards hold one tensor, or the index says otherwise than the headers."""
    if index is None:
        return list(_duplicates(headers)) if len(headers) > 1 else []
    faults: list[Fault] = []
    if not _agree(headers, index):
        faults += _duplicates(headers)
        faults += _strays(headers, index)
    faults += _total_size(headers, index)
    return faults


def _agree(headers: Sequence[Header], index: Index) -> bool:
    """Whether each tensor is where the index says and nowhere else: the usual answer.

    Shard by shard: names are looked up in tables so small that they stay in the processor's caches.
    """
    named: dict[str, list[str]] = {shard: [] for shard in index.shards}
    for name, shard in index.weight_map.items():
        named[shard].append(name)
    return len(named) == len(headers) and all(
        header.tensors.keys() == set(named.get(header.shard, ())) for header in headers
    )


def _duplicates(headers: Sequence[Header]) -> Iterator[Fault]:
    owner: dict[str, str] = {}
    for header in headers:
        for name in (*header.tensors, *header.unusable):
            if name in owner:
                yield Fault(
                    "shard-duplicate-tensor",
                    f"the tensor is stored in {owner[name]} too; loaders keep the last one they meet",
                    header.shard,
                    name,
                    expected="one shard",
                    found=f"{owner[name]} and {header.shard}",
                    help="export the checkpoint again",
                )
            owner[name] = header.shard


def _strays(headers: Sequence[Header], index: Index) -> Iterator[Fault]:
    """Tensors that are not where the index says, and tensors of which it says nothing.

    A shard that is missing, or whose header cannot be read, has its own fault: its tensors are not repeated here.
    """
    names = {header.shard: {*header.tensors, *header.unusable} for header in headers}
    owner = {name: shard for shard, held in names.items() for name in held}
    unknown = {header.shard for header in headers if not header.names_known}
    for name, shard in index.weight_map.items():
        if shard not in names or shard in unknown or name in names[shard]:
            continue
        yield Fault(
            "index-tensor-missing",
            "the index places a tensor in a shard that does not hold it",
            index.file,
            name,
            expected=f"in {shard}",
            found=f"in {owner[name]}" if name in owner else "in no shard",
            help="rewrite the index, or fetch the shard again",
        )
    for header in headers:
        for name in header.tensors:
            if name not in index.weight_map:
                yield Fault(
                    "index-unlisted-tensor",
                    "a stored tensor that the index does not list",
                    header.shard,
                    name,
                    expected=f"in {index.file}",
                    found="only in the shard",
                    help="rewrite the index",
                )


def _total_size(headers: Sequence[Header], index: Index) -> Iterator[Fault]:
    """``total_size`` can be judged only if every shard is there and sound."""
    if len(headers) != len(index.shards) or not all(header.readable for header in headers):
        return
    actual = sum(header.file_size - header.data_start for header in headers)
    declared = index.metadata.get("total_size")
    if declared != actual:
        yield Fault(
            "index-total-size",
            "metadata.total_size is not the size of the tensors",
            index.file,
            expected=f"{actual}",
            found="nothing" if declared is None else excerpt(declared),
            help="rewrite the index",
        )
