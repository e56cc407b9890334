"""Dataclasses whose fields are set once, and that cost nearly nothing where they are defined.

``dataclass(frozen=True)`` writes and compiles six functions for every class. A quick command meets a hundred classes,
half of which it has no instance of, and few instances of most others: that was a third of its time. A record becomes a
dataclass when somebody asks for its fields or makes an instance. One function is compiled for it, its ``__init__``, if
many instances are made; all else it shares with every other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, make_dataclass
from functools import cached_property, partial
from operator import attrgetter
from reprlib import recursive_repr
from threading import RLock
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
    are. Functions that the class has itself are left alone. What is wrong with the fields is raised where the class is
    used first.
    """

    def made(decorated: type[T]) -> type[T]:
        own = vars(decorated)
        for name, function in _SHARED.items():
            if own.get(name) is None and (repr or name != "__repr__"):
                setattr(decorated, name, function)
        for name in ("__dataclass_fields__", "__match_args__"):
            if name not in own:
                setattr(decorated, name, _Unwritten(name, decorated, kw_only))
        if "__init__" not in own:
            setattr(decorated, "__init__", _Initializer(decorated))  # noqa: B010  type checkers know only functions
        return decorated

    return made if cls is None else made(cls)


class _Unwritten:
    """Stands for what a dataclass has until somebody asks for it."""

    def __init__(self, name: str, cls: type[Any], kw_only: bool) -> None:
        self._name = name
        self._cls = cls
        self._kw_only = kw_only

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        with _WRITING:
            if vars(self._cls)[self._name] is self:  # else another thread came first
                _write(self._cls, self._kw_only)
        return vars(self._cls)[self._name]


def _write(cls: type[Any], kw_only: bool) -> None:
    """Make a record the dataclass that it is."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # dataclasses would look at the signature for one
    dataclass(init=False, eq=False, repr=False, match_args=False, kw_only=kw_only)(cls)
    if isinstance(vars(cls)["__match_args__"], _Unwritten):
        names = tuple(item.name for item in fields(cls) if item.init and not item.kw_only)
        setattr(cls, "__match_args__", names)  # noqa: B010  type checkers take it for a constant


class _Initializer:
    """Stands for the ``__init__`` of a record, whose compilation takes as long as a hundred calls of this.

    What this cannot do the compiled one is called for, which says what is wrong with the arguments.
    """

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls
        self._calls = 0

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        self._calls += 1
        if instance is not None and self._calls <= _FEW:
            return partial(self._initialize, instance)
        self._cls.__init__ = compiled = _initializer(self._cls)
        return compiled if instance is None else partial(compiled, instance)

    @cached_property
    def _positional(self) -> tuple[str, ...]:
        return tuple(item.name for item in fields(self._cls) if item.init and not item.kw_only)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(item.name for item in fields(self._cls) if item.init)

    def _initialize(self, instance: Any, /, *args: Any, **kwargs: Any) -> None:
        values = self._values(args, kwargs)
        if values is None:
            self._cls.__init__(instance, *args, **kwargs)
            return
        for name, value in values.items():
            object.__setattr__(instance, name, value)
        if hasattr(self._cls, "__post_init__"):
            instance.__post_init__()

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The values of all fields, in their order; None if the arguments do not fit."""
        given = {**dict(zip(self._positional, args, strict=False)), **kwargs}
        if len(given) != len(args) + len(kwargs) or not given.keys() <= self._names:
            return None
        values = {}
        for item in fields(self._cls):
            if item.name in given:
                values[item.name] = given[item.name]
            elif item.default_factory is not MISSING:
                values[item.name] = item.default_factory()
            elif item.init and item.default is not MISSING:
                values[item.name] = item.default
            elif item.init:
                return None
        return values


def _initializer(cls: type[Any]) -> Callable[..., None]:
    """The ``__init__`` that dataclasses write for a frozen class of these fields: it sets them past :func:`_set`."""
    own = ("default", "default_factory", "init", "kw_only")
    again = [(item.name, item.type, field(**{key: getattr(item, key) for key in own})) for item in fields(cls)]
    after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
    frozen = make_dataclass(cls.__name__, again, namespace=after, frozen=True, eq=False, repr=False)
    made: Callable[..., None] = vars(frozen)["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


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
    """Set a field that has no value yet, as ``__post_init__`` may."""
    values = self.__dict__
    if name in values or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    values[name] = value


def _delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


#: Instances of a class after which its ``__init__`` is compiled.
_FEW = 100
#: One thread at a time makes dataclasses.
_WRITING = RLock()
_COMPARED: dict[type[Any], Callable[[Any], Any]] = {}
_SHARED: dict[str, Callable[..., Any]] = {
    **{"__eq__": _equal, "__hash__": _hash, "__repr__": _repr},
    **{"__setattr__": _set, "__delattr__": _delete},
}
