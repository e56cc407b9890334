"""Dataclasses whose fields are set once, and that cost a quarter of what frozen ones do where they are defined.

``dataclass(frozen=True)`` writes and compiles six functions for every class. A quick command meets a hundred classes:
that was a third of its time. A record has the ``__init__`` that dataclasses write; all else it shares with every other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:
    dataclass_transform = lambda **_: lambda function: function  # noqa: E731  typing has it from Python 3.11 on

T = TypeVar("T")


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, repr: bool = True, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, repr: bool = True, kw_only: bool = False) -> Any:
    """Make a class a dataclass whose fields are set once: ``dataclass(frozen=True)`` to everybody who uses it.

    ``repr`` and ``kw_only`` are what they are there. Two records are equal if they are of one class, and their fields
    are. Functions that the class has itself are left alone.
    """

    def made(decorated: type[T]) -> type[T]:
        own = vars(decorated)
        for name, function in _SHARED.items():
            if own.get(name) is None and (repr or name != "__repr__"):
                setattr(decorated, name, function)
        return dataclass(eq=False, repr=False, kw_only=kw_only)(decorated)

    return made if cls is None else made(cls)


def _compared(cls: type[Any]) -> Callable[[Any], Any]:
    """What records of a class are compared by; worked out when it is asked for first."""
    found = _COMPARED.get(cls)
    if found is None:
        names = [item.name for item in fields(cls) if item.compare]
        found = _COMPARED[cls] = attrgetter(*names) if names else lambda _: ()
    return found


def _equal(self: Any, other: object) -> Any:
    cls = type(self)
    if type(other) is not cls:
        return NotImplemented
    values = _compared(cls)
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(_compared(type(self))(self))


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
    return f"{type(self).__qualname__}({shown})"


def _set(self: Any, name: str, value: object) -> None:
    """Set a field that has no value yet, which is what ``__init__`` does."""
    values = self.__dict__
    if name in values or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    values[name] = value


def _delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_COMPARED: dict[type[Any], Callable[[Any], Any]] = {}
_SHARED: dict[str, Callable[..., Any]] = {
    **{"__eq__": _equal, "__hash__": _hash, "__repr__": _repr},
    **{"__setattr__": _set, "__delattr__": _delete},
}
