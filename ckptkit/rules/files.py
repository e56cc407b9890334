"""CK1xx: files, headers and the index. Damage is found while reading; these rules give it codes."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import OnConversion, rule


@rule("CK101", "shard-is-a-stub", Severity.ERROR)
def shard_is_a_stub(context: Context) -> Iterator[Fault]:
    """A shard is a Git LFS pointer or an empty file, not a safetensors file.

    A clone without LFS, or a download that broke off, leaves a small text file under the shard's name. Loaders
    then complain about a header that is too large, which points nowhere near the cause.

    Mend: ``git lfs pull``, or download the shard again.
    """
    yield from context.faults("lfs-pointer", "file-empty")


@rule("CK102", "shard-truncated", Severity.ERROR)
def shard_truncated(context: Context) -> Iterator[Fault]:
    """A shard ends before its last tensor, or bytes follow the last tensor.

    The file's size must be exactly 8 + header + data. Anything else is a download that broke off, or a file that
    was overwritten or joined.

    Mend: download or export the shard again.
    """
    yield from context.faults("header-truncated", "header-too-large", "data-truncated", "data-trailing")


@rule("CK103", "header-malformed", Severity.ERROR)
def header_malformed(context: Context) -> Iterator[Fault]:
    """A safetensors header is not valid: bad JSON, gaps, overlaps, or sizes that contradict dtype x shape.

    The official library refuses such a file; hand-written readers may read out of bounds instead.

    Mend: export the shard again.
    """
    yield from context.faults(
        "header-invalid-json",
        "header-duplicate-field",
        "header-metadata",
        "header-entry",
        "header-dtype",
        "header-shape",
        "header-offsets",
        "header-overflow",
        "header-size",
        "header-hole",
        "header-overlap",
    )


@rule("CK104", "shard-missing", Severity.ERROR)
def shard_missing(context: Context) -> Iterator[Fault]:
    """The index names a shard that is not in the folder.

    Some loaders skip a missing shard and leave its weights uninitialised.

    Mend: download the shard; nothing in the folder replaces it.
    """
    yield from context.faults("shard-missing")


@rule("CK105", "index-tensor-missing", Severity.ERROR)
def index_tensor_missing(context: Context) -> Iterator[Fault]:
    """The index places a tensor in a shard that does not hold it.

    Loaders of quantized models do not check that every parameter was loaded; the missing one keeps whatever
    value it was created with.

    Mend: rebuild the index if the tensor is in another shard, else export again.
    """
    yield from context.faults("index-tensor-missing")


@rule("CK106", "index-unlisted-tensor", Severity.WARNING, conversion=OnConversion.MENDED)
def index_unlisted_tensor(context: Context) -> Iterator[Fault]:
    """A shard holds a tensor that the index does not list.

    Engines read every tensor of every shard they open, so a stale scale left in a shard is loaded although the
    index says nothing of it.

    Mend: rebuild the index, or rewrite the shard without the stale tensor.
    """
    yield from context.faults("index-unlisted-tensor")


@rule("CK107", "tensor-stored-twice", Severity.ERROR)
def tensor_stored_twice(context: Context) -> Iterator[Fault]:
    """One tensor name is stored in two shards.

    The copy that is read last wins, and the order is the loader's business.

    Mend: rewrite the shards so that only the copy that the index names remains.
    """
    yield from context.faults("shard-duplicate-tensor")


@rule("CK108", "unlisted-weight-file", Severity.WARNING)
def unlisted_weight_file(context: Context) -> Iterator[Fault]:
    """A safetensors file lies in the folder that the index does not name.

    A second set of weights (``consolidated.safetensors``, a stale ``model.safetensors``) is picked up by loaders
    that take every file matching a pattern.

    Mend: move the file out of the folder.
    """
    yield from context.faults("shard-unlisted")


@rule("CK109", "index-absent", Severity.ERROR, conversion=OnConversion.MENDED)
def index_absent(context: Context) -> Iterator[Fault]:
    """Several shards, but no index.

    transformers cannot load such a folder.

    Mend: rebuild the index from the headers.
    """
    yield from context.faults("index-absent")


@rule("CK110", "index-total-size", Severity.INFO, conversion=OnConversion.MENDED)
def index_total_size(context: Context) -> Iterator[Fault]:
    """The index's ``metadata.total_size`` is missing or is not the size of the tensors.

    Tools that size downloads or count parameters from it are wrong; no engine fails.

    Mend: rewrite the index.
    """
    yield from context.faults("index-total-size")


@rule("CK111", "metadata-format", Severity.INFO, conversion=OnConversion.MENDED)
def metadata_format(context: Context) -> Iterator[Fault]:
    """A shard's ``__metadata__`` does not say ``format: pt``.

    Older transformers and some fast loaders refuse such a shard. Quark's file-to-file export and several
    converters leave it out.

    Mend: rewrite the header.
    """
    for header in context.container.headers:
        found = (header.metadata or {}).get("format")
        if found is None and header.tensors:
            yield Fault("metadata-format", "no format in __metadata__", header.shard, None, "format: pt", "nothing")


@rule("CK115", "path-outside-folder", Severity.ERROR)
def path_outside_folder(context: Context) -> Iterator[Fault]:
    """An index entry or a symbolic link points outside the checkpoint folder.

    Loading it would read a file that is not part of the checkpoint.

    Mend: replace links by files; do not trust an index that names ``../`` or absolute paths.
    """
    yield from context.faults("outside-folder", "index-outside-folder", "broken-link", "linked-folder", "not-a-file")


@rule("CK116", "json-malformed", Severity.ERROR)
def json_malformed(context: Context) -> Iterator[Fault]:
    """config.json or the index is missing, is not JSON, or is not the object that it must be.

    Mend: restore the file from the export.
    """
    yield from context.faults("json-invalid", "index-invalid", "config-absent")


@rule("CK117", "duplicate-key", Severity.WARNING)
def duplicate_key(context: Context) -> Iterator[Fault]:
    """A JSON object or a safetensors header holds one key twice, or a header field that no reader knows.

    The official reader lets it pass and keeps the last entry; another reader may keep the first.

    Mend: export the file again.
    """
    yield from context.faults("header-duplicate-key", "json-duplicate-key", "header-unknown-field")
