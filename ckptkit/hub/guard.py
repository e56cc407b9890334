"""A guard for people's own scripts: a broken FP8 checkpoint raises before its first byte leaves.

Two ways in, both explicit. ``GuardedHfApi`` is a drop-in for ``HfApi``. ``guard()`` is a context manager and a
decorator that guards all of the hub library while it is entered, and hence ``push_to_hub`` of every library::

    with ckptkit.hub.guard():
        model.push_to_hub("org/model-FP8")
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ckptkit.hub.outgoing import Content, folder_contents, refuse_broken

#: Set while a guarded call runs: what it calls itself has been judged already.
_judged: ContextVar[bool] = ContextVar("ckptkit_judged", default=False)
_lock = threading.Lock()
_entered = 0


def _outgoing_folder(arguments: Mapping[str, Any]) -> dict[str, Content]:
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    contents = folder_contents(Path(arguments["folder_path"]).expanduser())
    allowed, ignored = arguments.get("allow_patterns"), arguments.get("ignore_patterns")
    return {
        name: contents[name] for name in filter_repo_objects(contents, allow_patterns=allowed, ignore_patterns=ignored)
    }


def _outgoing_file(arguments: Mapping[str, Any]) -> dict[str, Content]:
    return {str(arguments["path_in_repo"]): _content(arguments["path_or_fileobj"])}


def _outgoing_operations(arguments: Mapping[str, Any]) -> dict[str, Content]:
    operations = arguments.get("operations", arguments.get("additions", ()))
    added = [operation for operation in operations if hasattr(operation, "path_or_fileobj")]
    return {str(operation.path_in_repo): _content(operation.path_or_fileobj) for operation in added}


def _content(given: Any) -> Content:
    return Path(given) if isinstance(given, str | Path) else given


#: Methods of HfApi by which files leave -> what they are about to send. ``upload_large_folder`` left the hub library
#: with 2.0, where ``upload_folder`` does its work.
_WAYS_OUT: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Content]]] = {
    "upload_folder": _outgoing_folder,
    "upload_large_folder": _outgoing_folder,
    "upload_file": _outgoing_file,
    "create_commit": _outgoing_operations,
    "preupload_lfs_files": _outgoing_operations,
}


def _guarded(original: Callable[..., Any], outgoing: Callable[[Mapping[str, Any]], dict[str, Content]]) -> Any:
    """The method, with a judgement in front of it."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _judged.get():
            return original(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        given.pop("self")
        given.update(_listed(given))
        if given.get("repo_type") in (None, "model"):
            refuse_broken(outgoing(given), str(given.get("repo_id", "upload")))
        token = _judged.set(True)
        try:
            return original(self, **given)
        finally:
            _judged.reset(token)

    return method


def _listed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Operations may come as an iterator, which a judgement would use up."""
    return {name: list(arguments[name]) for name in ("operations", "additions") if name in arguments}


@functools.lru_cache(maxsize=1)
def guarded_api() -> type[Any]:
    """The class ``GuardedHfApi``: HfApi whose uploads refuse broken FP8 checkpoints."""
    from huggingface_hub import HfApi

    methods = {name: _guarded(getattr(HfApi, name), how) for name, how in _WAYS_OUT.items() if hasattr(HfApi, name)}
    documentation = "HfApi whose uploads raise UploadRefused, before the first byte leaves, for broken FP8 checkpoints."
    return type("GuardedHfApi", (HfApi,), {**methods, "__doc__": documentation, "__module__": "ckptkit.hub"})


@contextmanager
def guard() -> Iterator[None]:
    """Guard every upload made through the hub library by this process, until the block ends.

    Works for ``push_to_hub`` of transformers and others, for ``HfApi``, and for functions such as ``upload_folder``
    imported from ``huggingface_hub`` before or after. Raises UploadRefused. May be nested; use as ``@guard()`` too.
    """
    global _entered
    with _lock:
        _entered += 1
        if _entered == 1:
            _install()
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                _remove()


_originals: dict[str, Any] = {}
_functions: list[tuple[Any, Any]] = []


def _install() -> None:
    from huggingface_hub import HfApi, hf_api

    for name, outgoing in _WAYS_OUT.items():
        if name not in vars(HfApi):
            continue
        _originals[name] = vars(HfApi)[name]
        # huggingface_hub.upload_folder and the like are methods bound to one instance when the library is imported.
        before = getattr(hf_api, name, None)
        setattr(HfApi, name, _guarded(_originals[name], outgoing))
        if before is not None:
            _functions.append((before, getattr(hf_api.api, name)))
    _rebind(_functions)


def _remove() -> None:
    from huggingface_hub import HfApi

    _rebind([(after, before) for before, after in _functions])
    for name, original in _originals.items():
        setattr(HfApi, name, original)
    _functions.clear()
    _originals.clear()


def _rebind(pairs: list[tuple[Any, Any]]) -> None:
    """Replace objects wherever a module holds them under any name: ``from huggingface_hub import create_commit``."""
    replacements = {id(old): new for old, new in pairs}
    for module in list(sys.modules.values()):
        namespace = getattr(module, "__dict__", None)
        if not isinstance(namespace, dict):
            continue
        for name, value in list(namespace.items()):
            if id(value) in replacements:
                namespace[name] = replacements[id(value)]
