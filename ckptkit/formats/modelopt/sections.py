"""Where a ModelOpt config sits: flat or nested in config.json, or in a file of its own beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.edits.changes import Path
from ckptkit.errors import Fault
from ckptkit.formats import config_block
from ckptkit.formats.config_block import Section
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.modelopt.facts import DIALECT, FILE_ALONE, LIST_AROUND, METHODS, NESTED, OWN_LAYOUT, SIDE_FILE
from ckptkit.storage.container import Container


def own_section(container: Container) -> Mapping[str, Any] | None:
    """The part of a config in config.json that names the algorithm, where the config is ModelOpt's."""
    located = config_block.locate(container.config)
    if located is None:
        return None
    section, method = section_of(located.block), config_block.quant_method(located.block)
    # Older exports leave the method out.
    if method not in METHODS and (method or not any("quant_algo" in part for part in (located.block, section))):
        return None
    return section


def section_of(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that names the algorithm: what is nested in it, or the config itself."""
    nested = block.get(NESTED)
    return nested if isinstance(nested, Mapping) else block


def side_document(container: Container) -> Mapping[str, Any] | None:
    """The file beside config.json, when a sound one lies in the folder."""
    return container.json_file(SIDE_FILE)[0]


def side_faults(container: Container) -> list[Fault]:
    """What is wrong with that file as JSON."""
    return container.json_file(SIDE_FILE)[1]


def side_section(container: Container) -> Mapping[str, Any] | None:
    """The part of that file that names the algorithm: what is nested in it, or all of a flat one."""
    document = side_document(container) or {}
    section = document.get(NESTED, document if "quant_algo" in document else None)
    return section if isinstance(section, Mapping) else None


def dialect_in(container: Container) -> Dialect | None:
    """The layout of the config that counts; None where there is none of ours."""
    located, own = config_block.locate(container.config), own_section(container)
    if located is None:
        return FILE_ALONE if side_section(container) is not None else None
    return None if own is None else DIALECT if own is located.block else OWN_LAYOUT


def places(container: Container) -> Iterator[Section]:
    """Where readers look for a config: config.json first, then the file beside it."""
    located, own, dialect = config_block.locate(container.config), own_section(container), dialect_in(container)
    if located is not None and own is not None and dialect is not None:
        yield _place(dialect, own, located.way if own is located.block else (*located.way, NESTED), located.file)
        if own is not located.block:
            # SGLang makes such a config flat, and takes its list from where a flat one has it.
            yield _place(LIST_AROUND, located.block, located.way, located.file)
    document, side = side_document(container), side_section(container)
    if side is not None:
        yield _place(FILE_ALONE, side, () if side is document else (NESTED,), SIDE_FILE)


def _place(dialect: Dialect, section: Mapping[str, Any], way: Path, file: str) -> Section:
    return Section(section, way, file, dialect.keys, dialect.skip_list.present(section))


def algorithm(section: Mapping[str, Any]) -> str:
    """The name of the algorithm, in the upper case in which readers compare it; empty where there is none."""
    return str(section.get("quant_algo") or "").upper()
