"""CK1xx: files, headers and the index. Damage is found while reading; these rules give it codes."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.errors import Fault

#: How file names of Mistral's own format begin.
_MISTRAL = "consolidated"


@rule("CK101", "shard-is-a-stub", Severity.ERROR)
def shard_is_a_stub(context: Context) -> Iterator[Fault]:
    """A shard is a Git LFS pointer or an empty file, not a safetensors file.

    Why it hurts: loaders complain about a header that is too large, which points nowhere near the cause.

    Example: ``model-00001-of-00004.safetensors`` has 135 bytes and starts with ``version https://git-lfs``, because
    the clone was made without LFS.

    Mend: ``git lfs pull``, or download the shard again.
    """
    yield from context.faults("lfs-pointer", "file-empty")


@rule("CK102", "shard-truncated", Severity.ERROR)
def shard_truncated(context: Context) -> Iterator[Fault]:
    """A shard ends before its last tensor, or bytes follow the last tensor.

    Why it hurts: the file's size must be exactly 8 + header + data. Anything else is a download that broke off, or
    a file that was overwritten or joined, and loaders fail half-way through a load that may take minutes.

    Example: a shard of 4,999,802,720 bytes whose header asks for 5,000,900,000.

    Mend: download or export the shard again.
    """
    yield from context.faults("header-truncated", "header-too-large", "data-truncated", "data-trailing")


@rule("CK103", "header-malformed", Severity.ERROR)
def header_malformed(context: Context) -> Iterator[Fault]:
    """A safetensors header is not valid: bad JSON, gaps, overlaps, or sizes that contradict dtype x shape.

    Why it hurts: the official library refuses such a file; hand-written readers may read out of bounds, or give two
    tensors the same bytes.

    Example: a tensor F8_E4M3 [64, 64] with ``data_offsets`` [0, 2048].

    Mend: export the shard again.
    """
    yield from context.faults(
        "header-invalid-json",
        "header-nesting",
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

    Why it hurts: some loaders skip a missing shard and leave its weights uninitialised; the server starts and
    answers nonsense.

    Example: the index speaks of 30 shards, the download stopped after 15.

    Mend: download the shard; nothing in the folder replaces it.
    """
    yield from context.faults("shard-missing")


@rule("CK105", "index-tensor-missing", Severity.ERROR, fix="safe")
def index_tensor_missing(context: Context) -> Iterator[Fault]:
    """The index places a tensor in a shard that does not hold it.

    Why it hurts: loaders of quantized models do not check that every parameter was loaded; the missing one keeps
    whatever value it was created with.

    Example: ``mtp.fc.weight`` is listed for shard 7, whose header does not know it.

    Mend: rebuild the index if the tensor is in another shard, else export again.
    """
    yield from context.faults("index-tensor-missing")


@rule("CK106", "index-unlisted-tensor", Severity.WARNING, conversion=OnConversion.MENDED, fix="safe")
def index_unlisted_tensor(context: Context) -> Iterator[Fault]:
    """A shard holds a tensor that the index does not list.

    Why it hurts: engines read every tensor of every shard they open, so a stale scale left in a shard is loaded
    although the index says nothing of it.

    Example: FP8 experts left behind in shards that were reused for another quantization of the same model.

    Mend: rebuild the index, or rewrite the shard without the stale tensor.
    """
    yield from context.faults("index-unlisted-tensor")


@rule("CK107", "tensor-stored-twice", Severity.ERROR, fix="unsafe")
def tensor_stored_twice(context: Context) -> Iterator[Fault]:
    """One tensor name is stored in two shards.

    Why it hurts: the copy that is read last wins, and the order is the loader's business.

    Example: two overlapping splits of one model in a folder, 4,090 names in both.

    Mend: rewrite the shards so that only the copy that the index names remains.
    """
    yield from context.faults("shard-duplicate-tensor")


@rule("CK108", "unlisted-weight-file", Severity.WARNING)
def unlisted_weight_file(context: Context) -> Iterator[Fault]:
    """A safetensors file lies in the folder that is no part of the model.

    Why it hurts: a second set of weights is picked up by loaders that take every file matching a pattern. vLLM takes
    any file called ``consolidated*.safetensors`` for Mistral's own format: it loads that instead of the shards, and
    finds no weights when the file lies in a subfolder.

    Example: ``consolidated.safetensors`` beside ``model-00001-of-00002.safetensors``.

    Mend: move the file out of the folder.
    """
    yield from context.faults("shard-unlisted")
    shards = [header.shard for header in context.container.headers]
    others = [shard for shard in shards if not shard.startswith(_MISTRAL)]
    strays = [shard for shard in shards if shard.startswith(_MISTRAL)] if others else []
    for entry in context.container.side_files:
        folder, _, name = entry.name.rpartition("/")
        if folder and name.startswith(_MISTRAL) and name.endswith(".safetensors"):
            strays.append(entry.name)
    for name in strays:
        message = "vLLM takes the folder for one in Mistral's own format"
        yield Fault("shard-mistral", message, name, None, "no such file", help="move it out of the folder")


@rule("CK109", "index-absent", Severity.ERROR, conversion=OnConversion.MENDED, fix="safe")
def index_absent(context: Context) -> Iterator[Fault]:
    """Several shards, but no index.

    Why it hurts: transformers cannot load such a folder.

    Example: three files ``model-0000N-of-00003.safetensors`` and no ``model.safetensors.index.json``.

    Mend: rebuild the index from the headers.
    """
    yield from context.faults("index-absent")


@rule("CK110", "index-total-size", Severity.INFO, conversion=OnConversion.MENDED, fix="safe")
def index_total_size(context: Context) -> Iterator[Fault]:
    """The index's ``metadata.total_size`` is missing or is not the size of the tensors.

    Why it hurts: tools that size downloads or count parameters from it are wrong; no engine fails.

    Example: Quark's file-to-file export writes the size of the file, header included.

    Mend: rewrite the index.
    """
    yield from context.faults("index-total-size")


@rule("CK111", "metadata-format", Severity.INFO, conversion=OnConversion.MENDED, fix="safe")
def metadata_format(context: Context) -> Iterator[Fault]:
    """A shard's ``__metadata__`` does not say ``format: pt``.

    Why it hurts: older transformers and some fast loaders refuse such a shard.

    Example: Quark's file-to-file export and several converters write no metadata at all.

    Mend: rewrite the header.
    """
    for header in context.container.headers:
        found = (header.metadata or {}).get("format")
        if found is None and header.tensors:
            yield Fault("metadata-format", "no format in __metadata__", header.shard, None, "format: pt", "nothing")


@rule("CK115", "path-outside-folder", Severity.ERROR)
def path_outside_folder(context: Context) -> Iterator[Fault]:
    """An index entry or a symbolic link points outside the checkpoint folder, or at something that is no file.

    Why it hurts: loading it would read a file that is not part of the checkpoint.

    Example: an index that places a tensor in ``../../home/user/.ssh/id_ed25519``.

    Mend: replace links by files; do not trust an index that names ``../`` or absolute paths.
    """
    yield from context.faults(
        "outside-folder", "index-outside-folder", "broken-link", "linked-folder", "not-a-file", "file-unreadable"
    )


@rule("CK116", "json-malformed", Severity.ERROR)
def json_malformed(context: Context) -> Iterator[Fault]:
    """config.json or the index is missing, is not JSON, or is not the object that it must be.

    Why it hurts: nothing can be said about a checkpoint without them, and loaders fail in their own words.

    Example: an index whose ``weight_map`` is a list, or names a ``.bin`` file.

    Mend: restore the file from the export.
    """
    yield from context.faults("json-invalid", "json-too-large", "index-invalid", "index-not-a-shard", "config-absent")


@rule("CK117", "duplicate-key", Severity.WARNING)
def duplicate_key(context: Context) -> Iterator[Fault]:
    """A JSON object or a safetensors header is written so that readers differ: a key twice, an unknown field, blanks.

    Why it hurts: the official reader lets it pass and keeps the last entry; another reader may keep the first, or
    refuse the file.

    Example: a header that names ``lm_head.weight`` twice with different offsets.

    Mend: export the file again.
    """
    yield from context.faults(
        "header-duplicate-key",
        "json-duplicate-key",
        "header-unknown-field",
        "header-entry-form",
        "header-leading-blanks",
    )
