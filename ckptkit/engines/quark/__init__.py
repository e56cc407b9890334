"""Quark, as the reader of what it exports."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.engines.base import Engine, lazily
from ckptkit.engines.prediction import Drafts
from ckptkit.engines.releases import Evidence, Release

ENGINE = Engine(
    name="quark",
    label="Quark",
    package="amd-quark",
    releases=(Release("0.13", "2026-09-28", how=(Evidence.RUN, Evidence.SOURCE)),),
    reads=frozenset({"quark", "quark-fp8"}),
    unread=MappingProxyType(
        dict.fromkeys(("compressed-tensors", "fp8-block", "modelopt"), "Quark reads its own exports")
    ),
    outcomes=lazily("ckptkit.engines.quark.outcomes", "OUTCOMES"),
    skip_lists=lazily("ckptkit.engines.quark.skip_lists", "SKIP_LISTS"),
    support=lazily("ckptkit.engines.quark.support", "SUPPORT"),
    kernels=lazily("ckptkit.engines.quark.kernels", "KERNELS"),
    remarks=lazily("ckptkit.engines.quark.remarks", "REMARKS"),
    architectures=lambda: None,
    demands=lazily("ckptkit.engines.quark.support", "DEMANDS"),
    drafts=Drafts.LEFT_OUT,
    modules=lazily("ckptkit.engines.quark.classes", "MODULES"),
    keeps_types=lazily("ckptkit.engines.quark.classes", "KEEPS_TYPES"),
)
