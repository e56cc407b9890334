"""Machine code of the inner loops: compiled once by numba, kept in the user's cache folder, and loaded without numba.

Importing numba and what it keeps takes most of a second and 100 MB, which is more than the loops save on a few
gigabytes. What is kept is an object file for this very processor and these versions; llvmlite, which numba brings
along, links it in a tenth of the time. Kept or not, it is the same code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

#: Loop -> its arguments: a pointer to elements of a type, or a number.
SIGNATURES = {
    "products-BF16": "uint8* float32* int64 int64 int64 int64 int64 int64 uint16* int32*",
    "products-F32": "uint8* float32* int64 int64 int64 int64 int64 int64 int32* int32*",
    "elements-BF16": "uint8* float32* int64 int64 uint16*",
    "elements-F32": "uint8* float32* int64 int64 int32*",
    "looked-up-8": "uint8* int16* uint8* int64 int64 uint8* uint8*",
    "looked-up-16": "uint8* int16* uint16* int64 int64 uint16* uint8*",
    "magnitudes-16": "int16* int64 int64 int64 int64 int16*",
    "magnitudes-32": "int32* int64 int64 int64 int64 int32*",
    "quantized-BF16": "uint16* float32* int64 int64 int64 int64 int64 int64 uint8*",
    "quantized-F16": "uint16* float32* int64 int64 int64 int64 int64 int64 uint8*",
    "quantized-F32": "int32* float32* int64 int64 int64 int64 int64 int64 uint8*",
    "bf16-quotients": "uint16* float32* int64 int64 int64 int64 uint8*",
    "error-sums": "float32* float32* int64 float64* int64*",
    "first-difference": "float32* float32* int64 int64 int64*",
}
_DIGEST_SIZE = 32
#: What loops may call: functions of the C library that compilers put in.
_KNOWN = frozenset({"memset", "memcpy", "memmove"})
_lock = Lock()


class NotCompiledError(Exception):
    """The loops cannot be had as machine code here; numpy does their work."""


def loops() -> Mapping[str, Callable[..., None]] | None:
    """Every loop by its name, or None where there is no numba, or it fails. They release the interpreter's lock."""
    with _lock:
        return _loops()


@cache
def _loops() -> Mapping[str, Callable[..., None]] | None:
    try:
        return _linked(_kept() or _compiled_and_kept())
    except (ImportError, NotCompiledError, OSError):  # no numba, or one that is broken
        return None
    except (AttributeError, TypeError, ValueError, RuntimeError):  # other functions than in the versions that we know
        return None


@cache
def is_kept() -> bool:
    """Whether loading the loops takes no time to speak of."""
    with suppress(ImportError, OSError):
        return _file().exists()
    return False


def is_installed() -> bool:
    """Whether numba is there. It is not imported."""
    return find_spec("numba") is not None


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "ckptkit" / "loops"


@cache
def _file() -> Path:
    """Where the machine code for this processor, these versions and this source is kept."""
    from importlib.metadata import PackageNotFoundError, version

    source = Path(__file__).with_name("loops.py").read_bytes()
    try:
        versions = [f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy")]
    except PackageNotFoundError as error:
        raise ImportError(str(error)) from error
    about = "\n".join([sys.version, *versions, *_processor(), repr(SIGNATURES)])
    return _cache_folder() / f"{_digest(source + about.encode()).hex()[:40]}.o"


def _digest(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()


def _processor() -> tuple[str, str, str]:
    """Triple, processor and its features, in LLVM's words."""
    import llvmlite.binding as llvm

    return llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _kept() -> bytes | None:
    """The object file of an earlier process; None where it is absent, damaged, or could have been written by others."""
    try:
        with _file().open("rb") as file:
            state, data = os.fstat(file.fileno()), file.read()
    except OSError:
        return None
    if sys.platform != "win32" and (state.st_uid != os.geteuid() or state.st_mode & 0o022):
        return None
    found = data[_DIGEST_SIZE:]
    return found if found and _digest(found) == data[:_DIGEST_SIZE] else None


def _compiled_and_kept() -> bytes:
    import tempfile

    data = _compiled()
    file = _file()
    with suppress(OSError):  # a folder that is not to be written: the next process compiles again
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as target:
                target.write(_digest(data) + data)
            os.replace(name, file)
        except BaseException:
            os.unlink(name)
            raise
    return data


def _target_machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple, processor, features = _processor()
    return llvm.Target.from_triple(triple).create_target_machine(processor, features, opt=3, jit=True)


def _compiled() -> bytes:
    """All loops as one object file. Raises NotCompiledError where one would call what only numba has."""
    import llvmlite.binding as llvm
    import numba

    from ckptkit.operations.loops import LOOPS

    machine = _target_machine()
    whole = llvm.parse_assembly("")
    for loop in LOOPS:
        signature = numba.void(*(_numba_type(numba, word) for word in SIGNATURES[loop.name].split()))
        options = {"error_model": "numpy", **({"fastmath": {"reassoc"}} if loop.reorders else {})}
        try:
            made = numba.cfunc(signature, **options)(loop.function)
        except numba.errors.NumbaError as error:
            raise NotCompiledError(f"{loop.name}: {error}") from error
        module = llvm.parse_assembly(made.inspect_llvm())
        module.get_function(made.native_name).name = loop.name
        for function in module.functions:
            if function.name != loop.name and not function.is_declaration:
                function.linkage = "internal"
        _optimize(module, machine)
        missing = {function.name for function in module.functions if function.is_declaration}
        missing = {name for name in missing if not name.startswith("llvm.")} - _KNOWN
        if missing:
            raise NotCompiledError(f"{loop.name} calls {', '.join(sorted(missing))}")
        whole.link_in(module)
    return bytes(machine.emit_object(whole))


def _numba_type(numba: Any, word: str) -> Any:
    kind = getattr(numba.types, word.rstrip("*"))
    return numba.types.CPointer(kind) if word.endswith("*") else kind


def _optimize(module: Any, machine: Any) -> None:
    """Take what a loop calls into it; what is then called by nobody goes."""
    import llvmlite.binding as llvm

    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)


@cache
def _engine() -> Any:
    import llvmlite.binding as llvm

    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())


def _linked(data: bytes) -> Mapping[str, Callable[..., None]]:
    """The functions of an object file. The engine holds their code for as long as the process lives."""
    import ctypes

    import llvmlite.binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    found = {}
    for name, signature in SIGNATURES.items():
        kinds = [ctypes.c_void_p if word.endswith("*") else ctypes.c_int64 for word in signature.split()]
        address = engine.get_function_address(name)
        if not address:
            raise NotCompiledError(f"{name} is missing")
        found[name] = ctypes.CFUNCTYPE(None, *kinds)(address)
    return found
