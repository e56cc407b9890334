"""Where a ModelOpt config sits: flat or nested in config.json, or in a file of its own beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.errors import CkptkitError, Fault
from ckptkit.formats import config_block
from ckptkit.formats.modelopt.facts import METHODS, SIDE_FILE
from ckptkit.storage.container import Container
from ckptkit.storage.index import parse_json_object


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
    nested = block.get("quantization")
    return nested if isinstance(nested, Mapping) else block


def side_document(container: Container) -> Mapping[str, Any] | None:
    """The file beside config.json, when a sound one lies in the folder."""
    data = _side_bytes(container)
    return None if data is None else parse_json_object(SIDE_FILE, data)[0]


def side_faults(container: Container) -> list[Fault]:
    """What is wrong with that file as JSON."""
    data = _side_bytes(container)
    return [] if data is None else parse_json_object(SIDE_FILE, data)[1]


def _side_bytes(container: Container) -> bytes | None:
    try:
        return container.side_file(SIDE_FILE)
    except CkptkitError:
        return None


def side_section(container: Container) -> Mapping[str, Any] | None:
    """The part of that file that names the algorithm: what is nested in it, or all of a flat one."""
    document = side_document(container) or {}
    section = document.get("quantization", document if "quant_algo" in document else None)
    return section if isinstance(section, Mapping) else None


def algorithm(section: Mapping[str, Any]) -> str:
    """The name of the algorithm, in the upper case in which readers compare it; empty where there is none."""
    return str(section.get("quant_algo") or "").upper()
