"""Kernels on first use: the one place that imports torch and Triton and turns programs into kernels."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from ckptkit.errors import UsageError, install
from ckptkit.kernels import programs
from ckptkit.record import record

_HELP = install("gpu")
#: What changes from call to call: specializing on it would compile again in the middle of serving.
_VARYING = ("m", "a_scale_stride_m", "a_scale_stride_k", "b_scale_stride_n")
_LOCK = threading.Lock()
_toolkit: Toolkit | None = None


@record
class Toolkit:
    """torch, Triton and the built kernels. ``interpreted``: they run in Triton's interpreter, on the CPU."""

    torch: Any
    triton: Any
    tl: Any
    tensor_descriptor: Any
    kernels: Mapping[str, Any]
    interpreted: bool


def import_torch() -> Any:
    """torch, or a UsageError that names the extra which brings it."""
    try:
        import torch
    except ImportError as error:
        raise UsageError("the FP8 kernels need torch, which is not installed", help=_HELP) from error
    return torch


def import_triton() -> Any:
    """Triton, or a UsageError that names the extra which brings it."""
    try:
        import triton
        import triton.language
    except ImportError as error:
        raise UsageError("the FP8 kernels need Triton, which is not installed", help=_HELP) from error
    return triton


def use_interpreter() -> None:
    """Make kernels run in Triton's interpreter. Triton reads the wish when it is imported: call this before."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return
    if sys.modules.get("triton") is not None:
        raise UsageError("Triton is already imported to run on a GPU", help="set TRITON_INTERPRET=1 before")
    os.environ["TRITON_INTERPRET"] = "1"


def toolkit() -> Toolkit:
    """Everything a launch needs, built by the first caller; the others wait for it."""
    global _toolkit
    if _toolkit is None:
        with _LOCK:
            if _toolkit is None:
                torch, triton = import_torch(), import_triton()
                kernels = make_kernels(programs)
                _toolkit = Toolkit(
                    torch=torch,
                    triton=triton,
                    tl=triton.language,
                    tensor_descriptor=_tensor_descriptor(),
                    kernels=kernels,
                    interpreted=not isinstance(kernels["gemm_portable"], triton.runtime.JITFunction),
                )
    return _toolkit


def make_kernels(module: ModuleType) -> Mapping[str, Any]:
    """Bind ``tl`` in a module of programs, wrap its helpers and programs, and return the programs as kernels."""
    triton = import_triton()
    module.tl = triton.language  # type: ignore[attr-defined]
    for name in module.HELPERS:
        setattr(module, name, triton.jit(getattr(module, name)))
    found = {}
    for name in module.PROGRAMS:
        program = getattr(module, name)
        varying = [argument for argument in _VARYING if argument in inspect.signature(program).parameters]
        found[name] = triton.jit(program, do_not_specialize=varying)
    return MappingProxyType(found)


def _tensor_descriptor() -> Any:
    """The class of host-side TMA descriptors; None in a Triton that has none, where only pointers are used."""
    try:
        from triton.tools.tensor_descriptor import TensorDescriptor
    except ImportError:
        return None
    return TensorDescriptor
