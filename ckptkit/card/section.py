"""``ckptkit card``: the quantization section and the metadata of a model card, written and rewritten in place.

The user's text and metadata stay as they are, comments and order included: only the section between the markers
and the lines of the keys that are ours (tags, base_model, base_model_relation, library_name) are replaced. The hub
library's ``ModelCard`` reads the result back before it is written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ckptkit.card import CARD_FILE, facts
from ckptkit.card.facts import (
    END,
    START,
    contradictions,
    is_untrue_tag,
    own_section,
    section,
    tags,
)
from ckptkit.card.markdown import BYTE_ORDER_MARK, METADATA, heading
from ckptkit.card.serving import served_name
from ckptkit.errors import Fault, InputError, OutputError, UsageError, plural, printable
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.beside import clear_beside, write_beside
from ckptkit.storage.place import local_folder
from ckptkit.storage.replace import refuse_cache
from ckptkit.storage.untrusted import MOST_TEXT_BYTES, parse_yaml

_INSTEAD = "'ckptkit card PATH --print' prints the card instead"


@record(repr=False)
class Card(Shown):
    """A card as it was and as it should be; ``untrue`` is what it claimed and the tensors deny."""

    path: Path
    before: str | None
    after: str
    untrue: tuple[Fault, ...] = ()

    def _look(self) -> Look:
        state = "new" if self.before is None else "differs from the one in the folder" if self.changed else "up to date"
        facts = [state, plural(self.after.count("\n"), "line"), f"{len(self.untrue):,} untrue"]
        rows = ((fault.message, fault.expected, fault.found) for fault in self.untrue)
        return Look(str(self.path), facts, ("untrue", "expected", "found"), rows, len(self.untrue))

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after


def make(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    name: str | None = None,
    base_model: str | None = None,
    converted_from: str | None = None,
) -> Card:
    """The card of a checkpoint in ``folder``: the existing one updated, or a new one. Nothing is written.

    ``name`` is what people will serve (``org/repo``; default: the folder's name), ``base_model`` the repository
    that was quantized, ``converted_from`` the checkpoint that this one was converted from. What a card already
    says of them is kept unless they are given.
    """
    path = local_folder(folder) / CARD_FILE
    before = _read(path)
    text = f"# {heading((name or folder.resolve().name).rpartition('/')[2])}\n"
    if before is not None:
        text = before.removeprefix(BYTE_ORDER_MARK)
    old = own_section(text)
    if old is None and (START in text or END in text):
        raise UsageError(
            f"{path}: one of the two markers of the quantization section is missing", help=f"{START} ... {END}"
        )
    if old is not None:
        name = name or served_name(old)
        converted_from = converted_from or facts.converted_from(old)
    new = section(checkpoint, name or folder.resolve().name, converted_from)
    new = new.replace("\n", _line_break(text))
    text = text.replace(old, new) if old else f"{text.rstrip()}{_line_break(text) * 2}{new}{_line_break(text)}"
    after = _with_metadata(text, path, checkpoint, base_model)
    return Card(path, before, after, tuple(contradictions(checkpoint, before or "")))


def write(card: Card) -> None:
    """Put the card into its folder, in one rename, if it is not there already; clean up what a killed run left.

    Raises OutputError; the old card is then still there.
    """
    folder = card.path.parent.resolve()
    if not card.changed:
        clear_beside(card.path)
        return
    try:
        refuse_cache(folder)
        if card.path.is_symlink():
            raise OutputError(f"{card.path} is a symbolic link; its target is not ours to change")
        write_beside(card.path, card.after.encode())
    except OutputError as error:
        raise OutputError(error.message, help=_INSTEAD) from error
    except OSError as error:
        raise OutputError(f"{card.path} cannot be written: {error.strerror or error}", help=_INSTEAD) from error


def _read(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_TEXT_BYTES + 1)
        if len(data) > MOST_TEXT_BYTES:
            raise InputError(f"{path} cannot be read: more than {MOST_TEXT_BYTES:,} bytes")
        return data.decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _with_metadata(text: str, path: Path, checkpoint: Checkpoint, base_model: str | None) -> str:
    """The card with our keys set in its metadata block, all other lines of the block untouched."""
    data = _metadata_of(_with_block(text), path)
    ours = _our_metadata(data, checkpoint, base_model)
    updated = {key: value for key, value in ours.items() if data.get(key) != value}
    match = METADATA.match(text)
    line_break = _line_break(text)
    lines = match[2].split(line_break) if match and match[2] else []
    for key, value in updated.items():
        lines = _set_key(lines, key, value)
    block = line_break.join(lines)
    result = f"{match[1]}{block}{match[3]}{text[match.end() :]}" if match else _fresh(block, text, line_break)
    if _metadata_of(result, path) != {**data, **updated}:
        raise InputError(
            f"{path}: the metadata block is written in a way that ckptkit cannot change safely",
            help=f"set these keys by hand: {', '.join(updated)}",
        )
    return result


def _metadata_of(text: str, path: Path) -> dict[str, Any]:
    """The metadata as the hub library reads it, once our own parser has found nothing in it to be wary of."""
    from huggingface_hub import ModelCard

    try:
        if match := METADATA.match(text):
            parse_yaml(match[2])
        data: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # ours, YAML's, and the hub library's own
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200]
        message = f"{path}: the metadata block cannot be read: {reason}"
        raise InputError(message, help="correct the block between the --- lines") from error
    return data


def _our_metadata(data: dict[str, Any], checkpoint: Checkpoint, base_model: str | None) -> dict[str, Any]:
    present = data.get("tags") or []
    present = [present] if isinstance(present, str) else list(present)
    kept = [tag for tag in present if not is_untrue_tag(str(tag), checkpoint)]
    ours: dict[str, Any] = {"tags": kept + [tag for tag in tags(checkpoint) if tag not in kept]}
    if "library_name" not in data:
        ours["library_name"] = "transformers"
    if base_model is not None:
        ours["base_model"] = base_model
    if base_model is not None or data.get("base_model"):
        ours["base_model_relation"] = "quantized"
    return ours


def _set_key(lines: list[str], key: str, value: Any) -> list[str]:
    """Replace the lines of one top-level key, or add it at the end."""
    from huggingface_hub import ModelCardData

    new = ModelCardData(**{key: value}).to_yaml(line_break="\n").split("\n")
    begin = next((i for i, line in enumerate(lines) if re.match(rf"""["']?{key}["']?\s*:""", line)), None)
    if begin is None:
        return [*lines, *new]
    end = begin + 1
    while end < len(lines) and re.match(r"\s+\S|-", lines[end]):
        end += 1
    return [*lines[:begin], *new, *lines[end:]]


def _with_block(text: str) -> str:
    """The hub library complains on standard error about a card without metadata; give it an empty block."""
    return text if METADATA.match(text) else f"---\n{{}}\n---\n{text}"


def _fresh(block: str, text: str, line_break: str) -> str:
    return line_break.join(("---", block, "---", "", text.lstrip()))


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
