"""What a folder is and holds, whether or not there is a reader for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptkit.errors import CkptkitError, plural
from ckptkit.formats.known import OTHER_FILES, FolderKind
from ckptkit.formats.reading import BrokenConfig, FilesUnknown, NoReader, NotRead, Readable, ReadOutcome, read
from ckptkit.formats.recognise import Recognised, folder_kind, recognise
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.inventory import Inventory, PartOfFolder, Tally, tally
from ckptkit.model.summary import Summary, first_text, in_words, summarise
from ckptkit.storage.below import Below, FolderBelow, checkpoints_below, hint
from ckptkit.storage.container import Container, is_fatal, open_container
from ckptkit.storage.source import FileEntry, Source

#: Checkpoints below a folder of which the headers are read; further ones are listed.
_MOST_PARTS = 64
_GGUF_NOTE = "GGUF files are listed and not read: llama.cpp's tools say what is in them"


def is_whole(source: Source) -> bool:
    """Whether a source has weights of its own, as a checkpoint has, or only what lies below it."""
    names = {entry.name for entry in source.files()}
    return any("/" not in name and name.endswith((".safetensors", ".safetensors.index.json")) for name in names)


def inventory_of_folder(source: Source) -> Inventory:
    """What a folder without weights of its own holds: a pipeline of models, several checkpoints, files of others.

    Raises ContainerError where it holds none of these.
    """
    below, files = checkpoints_below(source.files()), tuple(_other_files(source.files()))
    gguf = tuple(part for part in files if part.what.startswith("GGUF"))
    kind, document = folder_kind(source, [])
    if not below and not gguf:
        open_container(source)  # has the words for what is wrong
    parts = tuple(_parts(source, below))
    whole = Tally()
    if kind is not None and kind.is_pipeline:
        for part in parts:
            whole += part.tally or Tally()
        return _of_parts(source, kind.words(document), parts + files, whole, ())
    if not below:
        return _of_parts(source, gguf[0].what, files, whole, (_GGUF_NOTE,))
    what = f"folder of {plural(len(below), 'checkpoint')}"
    return _of_parts(source, what, parts + files, whole, (hint(source.label, below),))


def _of_parts(
    source: Source, what: str, parts: tuple[PartOfFolder, ...], whole: Tally, notes: tuple[str, ...]
) -> Inventory:
    own = list(dict.fromkeys(part.quantization for part in parts if part.quantization))
    words = own[0] if len(own) == 1 else "differs by part" if own else "unknown"
    shards = sum(part.files for part in parts if part.tally is not None) if whole.kinds else 0
    return Inventory(
        label=source.label,
        what=what,
        quantization=words,
        architecture=None,
        shards=shards,
        tally=whole,
        parts=parts,
        notes=notes,
        traffic=source.traffic,
    )


def look(source: Source, *, scales: bool) -> tuple[Inventory, Container | None]:
    """What a source holds, and its container where it has weights of its own.

    Raises ContainerError where its files are damaged, or hold no weights at all.
    """
    if not is_whole(source):
        return inventory_of_folder(source), None
    container = open_container(source)
    container.raise_if_damaged()
    return inventory(container, read(container), scales=scales), container


def inventory(container: Container, outcome: ReadOutcome, *, scales: bool = True) -> Inventory:
    """What a container holds. Of one that was read it is a summary, for which scale values are read with ``scales``."""
    if isinstance(outcome, Readable):
        return summary(outcome.checkpoint, scales=scales)
    found = recognise(container)
    what, parts, notes = _surroundings(container, found)
    counted = tally(container.tensors.values(), found.method, found.bits)
    return Inventory(
        label=container.label,
        what=what,
        quantization=_quantization(outcome, counted, found.quantization),
        architecture=first_text(container.config.get("architectures")),
        shards=len(container.headers),
        tally=counted,
        parts=parts,
        notes=(*notes, *_reader_notes(outcome)),
        traffic=container.source.traffic,
    )


def summary(checkpoint: Checkpoint, *, scales: bool = True) -> Summary:
    """The summary of a checkpoint, with what lies around it."""
    what, parts, notes = _surroundings(checkpoint.container, recognise(checkpoint.container))
    return summarise(checkpoint, scales=scales, what=what, parts=parts, notes=notes)


def _surroundings(container: Container, found: Recognised) -> tuple[str, tuple[PartOfFolder, ...], tuple[str, ...]]:
    """What kind of thing a folder is, what lies below and beside its own weights, and notes."""
    beside = _other_files(container.side_files)
    parts = (*_parts(container.source, checkpoints_below(container.side_files)), *beside)
    return found.what or _model(container), parts, tuple(_notes(container, found.folder))


def _model(container: Container) -> str:
    return "model" if container.config else "safetensors files without a usable config.json"


def _quantization(outcome: NotRead, counted: Tally, recognised: str | None) -> str:
    """How a container without a checkpoint is quantized, in words."""
    if isinstance(outcome, NoReader):
        return outcome.words
    if isinstance(outcome, BrokenConfig):
        return f"not known, since the config cannot be understood: {outcome.message}"
    if isinstance(outcome, FilesUnknown):
        return f"not known: {outcome.message}"
    if outcome.faults:
        return recognised or outcome.faults[0].message
    weights = [code for code in counted.dtypes if code[0] in "FB" and code != "BOOL"]
    return f"not quantized ({weights[0]})" if weights else "not quantized"


def _reader_notes(outcome: NotRead) -> Iterator[str]:
    if isinstance(outcome, NoReader):
        yield "there is no reader for it: its files can be judged, what they mean is not"
    elif outcome.faults:
        yield "ckptkit validate says what is wrong"


def _notes(container: Container, folder: FolderKind | None) -> Iterator[str]:
    beside, _ = folder_kind(container.source, [])
    if beside is not None and beside is not folder:
        strays = [entry.name for entry in container.source.files() if entry.name.startswith(beside.shards or " ")]
        yield f"beside it lies {', '.join(list(dict.fromkeys([beside.file, *strays]))[:3])}"


def _other_files(entries: Sequence[FileEntry]) -> Iterator[PartOfFolder]:
    """Files with weights of other kinds, those of one kind together."""
    found: dict[str, list[FileEntry]] = {}
    for entry in entries:
        for end, what in OTHER_FILES.items():
            if entry.name.endswith(end) and "/" not in entry.name:
                found.setdefault(what, []).append(entry)
    for what, files in found.items():
        name = files[0].name if len(files) == 1 else f"{files[0].name}, ..."
        yield PartOfFolder(
            name, f"{what} {'file' if len(files) == 1 else 'files'}", len(files), sum(f.size for f in files)
        )


def _parts(source: Source, below: tuple[Below, ...]) -> Iterator[PartOfFolder]:
    """What each checkpoint below is: read where that is cheap, else listed."""
    for number, item in enumerate(below):
        if source.traits.remote or number >= _MOST_PARTS:
            yield PartOfFolder(item.name, "checkpoint", item.files, item.nbytes)
        else:
            yield _part(source, item)


def _part(source: Source, item: Below) -> PartOfFolder:
    try:
        container = open_container(FolderBelow(source, item.name))
        damaged = any(map(is_fatal, container.faults))
        outcome = read(container)
    except CkptkitError as error:
        return PartOfFolder(item.name, f"not readable: {error.message}", item.files, item.nbytes)
    found = recognise(container)
    what = _class_name(container) or found.what or first_text(container.config.get("architectures")) or "checkpoint"
    if damaged:
        return PartOfFolder(item.name, f"{what}, damaged", item.files, item.nbytes)
    if isinstance(outcome, Readable):
        counted = summarise(outcome.checkpoint, scales=False).tally
        return PartOfFolder(item.name, what, item.files, item.nbytes, in_words(outcome.checkpoint), counted)
    counted = tally(container.tensors.values(), found.method, found.bits)
    words = _quantization(outcome, counted, found.quantization)
    return PartOfFolder(item.name, what, item.files, item.nbytes, words, counted)


def _class_name(container: Container) -> str | None:
    """What a component of a pipeline calls itself."""
    name = container.config.get("_class_name")
    return name if isinstance(name, str) else None
