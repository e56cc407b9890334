"""Stand-ins that let SGLang's Python be imported and build models where its GPU packages are not.

A package that is absent becomes one whose every attribute is a class that does nothing; a decorator of it gives back
what it decorates. What SGLang decides about configs, names, shapes and schemes is its own; nothing is computed here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

#: Packages that need a GPU, a compiler or a network, and those that only serving imports.
ABSENT = frozenset(
    {
        *("sgl_kernel", "flashinfer", "tvm_ffi", "cuda", "deep_gemm", "cutlass", "nvidia_cutlass_dsl", "quack"),
        *("torchvision", "torchaudio", "torchcodec", "decord", "xgrammar", "sglang_router", "triton"),
        *("flash_attn", "flash_mla", "tilelang", "torch_memory_saver", "kernels", "pynvml", "outlines", "IPython"),
        *("sentencepiece", "vllm", "uvicorn", "setproctitle"),
    }
)


class _Nothing(type):
    """The class of things that do nothing: each of their attributes is another one."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)

    def __or__(cls, other: Any) -> Any:
        return Any

    def __ror__(cls, other: Any) -> Any:
        return Any


def _nothing(name: str) -> _Nothing:
    def new(cls: Any, *given: Any, **named: Any) -> Any:
        return given[0] if len(given) == 1 and callable(given[0]) and not named else object.__new__(cls)

    def call(self: Any, *given: Any, **named: Any) -> Any:
        return given[0] if len(given) == 1 and callable(given[0]) else self

    def index(self: Any, item: Any) -> Any:
        return self

    def schema(cls: Any, *given: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.any_schema()

    methods = {
        "__new__": new,
        "__get_pydantic_core_schema__": classmethod(schema),
        "__init__": lambda self, *g, **n: None,
        "__call__": call,
        "__getitem__": index,
    }
    return _Nothing(name, (), {**methods, "__class_getitem__": classmethod(lambda cls, item: cls)})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so that what is there is not replaced."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)

        def attribute(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _nothing(name)

        module.__path__ = []
        module.__version__ = "99.0"  # type: ignore[attr-defined]
        module.__getattr__ = attribute  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def _as_it_is(function: Any = None, **named: Any) -> Any:
    """In place of the compiler, which is not needed to load weights and wants a real Triton."""
    return function if function is not None else lambda f: f


def install() -> None:
    """Let transformers see what is really there, then put the stand-ins in place and play a Hopper without devices."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, PretrainedConfig  # noqa: F401

    sys.meta_path.append(_Finder())
    torch.compile = _as_it_is
    torch.cuda.get_device_capability = lambda *given: (9, 0)
    torch.cuda.is_available = lambda: False
    torch.cuda.current_device = lambda: 0
