"""A record is what a frozen dataclass is: the standard library's own stands beside it in every test."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, get_type_hints

import pytest

from ckptkit.record import record


def _pair(define: Callable[[Callable[..., Any]], Any]) -> tuple[Any, Any]:
    """One class twice: as a frozen dataclass and as a record."""
    return define(dataclass(frozen=True)), define(record)


def _point(decorate: Callable[..., Any]) -> Any:
    class Point:
        """A place."""

        x: int
        y: int = 2
        names: tuple[str, ...] = ()
        seen: int = field(default=0, compare=False)
        hidden: str = field(default="h", repr=False)
        made: int = field(init=False, repr=False, compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")
            object.__setattr__(self, "made", self.x + self.y)

        @cached_property
        def sum(self) -> int:
            return self.x + self.y

    return decorate(Point)


_CALLS = [((1,), {}), ((1, 3), {"names": ("a",)}), ((1,), {"seen": 7}), ((2,), {"hidden": "z"}), ((1, 2, ()), {})]


@pytest.fixture(params=[0, 3, 100], autouse=True, ids=lambda few: f"compiled-after-{few}")
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with an ``__init__`` that is compiled at once, soon, or never."""
    monkeypatch.setattr("ckptkit.record._FEW", request.param)


@record
class Kept:
    """A record of the module, so that it can be pickled."""

    name: str
    parts: tuple[int, ...] = ()


def test_signature_repr_fields_and_values_are_a_dataclasss() -> None:
    frozen, ours = _pair(_point)
    assert is_dataclass(ours)
    assert [item.name for item in fields(ours)] == [item.name for item in fields(frozen)]
    for args, kwargs in _CALLS:
        one, other = ours(*args, **kwargs), frozen(*args, **kwargs)
        assert list(vars(one).items()) == list(vars(other).items())
        assert (repr(one), asdict(one), one.made, one.sum) == (repr(other), asdict(other), other.made, other.sum)
        assert repr(replace(one, y=9)) == repr(replace(other, y=9))
    with pytest.raises(ValueError, match="negative"):
        ours(-1)
    for args, kwargs in (((), {}), ((1,), {"x": 2}), ((1,), {"made": 3}), ((1,), {"z": 3}), ((1,) * 6, {})):
        reasons = []
        for cls in (ours, frozen):
            with pytest.raises(TypeError) as caught:
                cls(*args, **kwargs)
            reasons.append(str(caught.value))
        assert reasons[0] == reasons[1]
    assert str(inspect.signature(ours)) == str(inspect.signature(frozen))


def test_equality_and_hashes_agree_for_every_pair() -> None:
    frozen, made = _pair(_point)
    for left_args, left in _CALLS:
        for right_args, right in _CALLS:
            ours = made(*left_args, **left), made(*right_args, **right)
            theirs = frozen(*left_args, **left), frozen(*right_args, **right)
            assert (ours[0] == ours[1]) is (theirs[0] == theirs[1])
            assert (hash(ours[0]) == hash(ours[1])) is (hash(theirs[0]) == hash(theirs[1]))
    assert made(1) != frozen(1)
    assert made(1) != (1, 2, (), "h")


def test_nothing_can_be_set_or_deleted_afterwards() -> None:
    for one in (cls(1) for cls in _pair(_point)):
        for name in ("x", "made", "other"):
            with pytest.raises(FrozenInstanceError):
                setattr(one, name, 3)
            with pytest.raises(FrozenInstanceError):
                delattr(one, name)
        assert one.sum == 3
        with pytest.raises(FrozenInstanceError):
            one.sum = 4


def test_a_subclass_is_another_class_with_the_fields_of_both() -> None:
    def define(decorate: Callable[..., Any]) -> Any:
        class Base:
            a: int = 1

        base = decorate(Base)

        class Below(base):
            b: int = 2

        return base, decorate(Below)

    for base, below in _pair(define):
        assert below() == below(1, 2) and below() != base(1) and base(1) != below()
        assert below(b=3) != below()
        assert repr(below()).endswith("Below(a=1, b=2)")
        with pytest.raises(FrozenInstanceError):
            below().a = 2


def test_functions_of_the_class_itself_stay() -> None:
    @record(repr=False, kw_only=True)
    class Own:
        a: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

    assert (repr(Own(a=1)), Own(a=1) == 5, hash(Own(a=1)) == hash(Own(a=1))) == ("own", True, True)
    with pytest.raises(TypeError):
        Own(1)  # type: ignore[misc]

    @record(repr=False)
    class Plain:
        a: int

    assert "object at" in repr(Plain(1))

    @record
    class Empty:
        pass

    assert Empty() == Empty() and hash(Empty()) == hash(Empty()) and repr(Empty()).endswith("Empty()")


def test_a_class_becomes_a_dataclass_when_it_is_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import ckptkit.record

    written: list[type] = []
    make = ckptkit.record.dataclass
    monkeypatch.setattr(
        ckptkit.record, "dataclass", lambda **options: lambda cls: written.append(cls) or make(**options)(cls)
    )

    def define() -> tuple[type, type]:
        @record
        class Base:
            a: int

        @record
        class Below(Base):
            b: list[int] = field(default_factory=list)

        return Base, Below

    for use in (lambda cls: cls(1), fields, is_dataclass, inspect.signature, lambda cls: cls.__match_args__):
        base, below = define()
        assert written == []
        use(below)
        use(below)
        assert written == [below, base]
        assert below(1) == below(1, [])
        written.clear()


def test_threads_that_use_a_class_first_find_one_and_the_same() -> None:
    for _ in range(20):

        @record
        class Point:
            x: int
            seen: int = field(default=0, compare=False)

        together = threading.Barrier(4)

        def use(number: int, cls: Any = Point, together: threading.Barrier = together) -> Any:
            together.wait()
            return cls(1, number)

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(use, range(4)))) == 1


def test_parameters_are_a_dataclasss() -> None:
    def define(decorate: Callable[..., Any]) -> Any:
        class Many:
            self: int
            made: list[int] = field(default_factory=list)
            word: str = field(default="w", kw_only=True)
            needed: int = field(kw_only=True)
            counted: list[int] = field(default_factory=lambda: [3], init=False)
            fixed: int = field(default=4, init=False)

        return decorate(Many)

    frozen, ours = _pair(define)
    assert ours.__match_args__ == frozen.__match_args__
    for arguments in ({"self": 1, "needed": 2}, {"self": 1, "made": [1], "needed": 2, "word": "x"}):
        assert repr(ours(**arguments)) == repr(frozen(**arguments))
    one, other = ours(1, needed=2), ours(1, needed=2)
    assert one.made is not other.made and one.counted is not other.counted
    match one:
        case ours(first, second):
            assert (first, second) == (1, [])
    for wrong in ({"self": 1}, {"needed": 1}, {"self": 1, "needed": 2, "counted": []}):
        for cls in (ours, frozen):
            with pytest.raises(TypeError):
                cls(**wrong)
    assert str(inspect.signature(ours)) == str(inspect.signature(frozen))
    assert get_type_hints(ours.__init__) == get_type_hints(frozen.__init__)
    assert ours.__init__.__qualname__ == frozen.__init__.__qualname__


def test_an_init_is_compiled_for_many_instances_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import ckptkit.record

    monkeypatch.setattr(ckptkit.record, "_FEW", 2)
    compiled: list[type] = []
    make = ckptkit.record._initializer
    monkeypatch.setattr(ckptkit.record, "_initializer", lambda cls: compiled.append(cls) or make(cls))

    @record
    class Base:
        a: int = 1

    class Below(Base):
        def __init__(self, a: int) -> None:
            super().__init__(a)

    assert [Below(2).a, Base(3).a] == [2, 3] and compiled == []
    assert [Below(2).a, Base(3).a, Base().a] == [2, 3, 1] and compiled == [Base]


def test_copies_and_pickles_are_equal_and_as_fixed() -> None:
    one = Kept("a", (1, 2))
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other == one
        with pytest.raises(FrozenInstanceError):
            other.name = "b"
