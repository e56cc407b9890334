"""Edits: the words in which they are shown, what they make of a config and of tensors, and when they cannot be made."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ckptkit.edits import changes, layout
from ckptkit.edits.changes import ConfigEdit, Edit
from ckptkit.edits.editor import EditConflictError, Editor, change_config
from ckptkit.operations import outputs
from ckptkit.storage.index import INDEX_FILE, Index
from ckptkit.storage.output import CONSTANT, SLICE, OutputTensor
from ckptkit.storage.payload import TensorRef


@pytest.mark.parametrize(
    ("edit", "words", "loses"),
    [
        (changes.Rename("s", "a", "b"), "rename a -> b", False),
        (changes.Duplicate("s", "a", "b"), "copy a -> b", False),
        (changes.Reshape("s", "a", (4,), (2, 2)), "reshape a [4] -> [2, 2]", False),
        (changes.Drop("s", "a"), "drop a", True),
        (changes.Move("s", "a", "t"), "move a from s to t", False),
        (changes.TakeValue("s", "a", "b"), "set a to the value of b", True),
        (changes.Compute("s", "a", "cast", {"dtype": "F32"}), "cast a, dtype F32", True),
        (changes.Compute("s", "a", "dequantize", {}, ("b", "c")), "dequantize a, b, c", True),
        (changes.SetMetadata("s", "format", "pt"), "s: metadata format = pt", False),
        (changes.SetKey(("a", 0, "b c"), "é"), 'config.json: a[0]["b c"] = "é"', False),
        (changes.SetKey(("a",), "x" * 98), f'config.json: a = "{"x" * 98}"', False),
        (changes.SetKey(("a",), "x" * 99), f'config.json: a = "{"x" * 96}...', False),
        (changes.RemoveKey(("a", "b")), "config.json: remove a.b", False),
        (changes.RenameKey(("a", "b"), "c"), "config.json: a.b becomes a.c", False),
        (changes.RenameKey(("a", "b", "c"), "d"), "config.json: a.b.c becomes a.b.d", False),
        (changes.AddItem(("a",), "x"), 'config.json: a += "x"', False),
        (changes.RemoveItem(("a",), "x"), 'config.json: a -= "x"', False),
        (changes.RebuildIndex(), "index: every tensor where it is stored", False),
        (changes.RebuildIndex(places=False), "index: total_size", False),
    ],
)
def test_edits_in_words(edit: Edit, words: str, loses: bool) -> None:
    assert str(edit) == words
    assert isinstance(edit, changes.LOSING_EDITS) == loses


CONFIG: dict[str, Any] = {"n": 1, "list": ["x", "y", "x"], "none": None, "object": {"a": [{"b": 2}]}, "last": 0}


@pytest.mark.parametrize(
    ("edit", "key", "value"),
    [
        (changes.SetKey(("n",), 2), "n", 2),
        (changes.SetKey(("new",), None), "new", None),
        (changes.SetKey(("new", "inner", "key"), 1), "new", {"inner": {"key": 1}}),
        (changes.SetKey(("none", "key"), 1), "none", {"key": 1}),
        (changes.SetKey(("list", 2), "z"), "list", ["x", "y", "z"]),
        (changes.SetKey(("object", "a", 0, "b"), 3), "object", {"a": [{"b": 3}]}),
        (changes.RemoveKey(("object", "a")), "object", {}),
        (changes.AddItem(("list",), "z"), "list", ["x", "y", "x", "z"]),
        (changes.AddItem(("list",), "x"), "list", ["y", "x"]),
        (changes.AddItem(("none",), "x"), "none", ["x"]),
        (changes.AddItem(("new", "list"), "x"), "new", {"list": ["x"]}),
        (changes.RemoveItem(("list",), "x"), "list", ["y"]),
        (changes.RemoveItem(("list",), "z"), "list", ["x", "y", "x"]),
        (changes.RemoveItem(("none",), "x"), "none", []),
        (changes.RenameKey(("object", "a"), "b"), "object", {"b": [{"b": 2}]}),
    ],
)
def test_what_an_edit_makes_of_a_config(edit: ConfigEdit, key: str, value: Any) -> None:
    config = copy.deepcopy(CONFIG)
    change_config(config, edit)
    assert config == {**CONFIG, key: value}


def test_a_renamed_key_keeps_its_place() -> None:
    config = copy.deepcopy(CONFIG)
    change_config(config, changes.RenameKey(("list",), "items"))
    assert list(config) == ["n", "items", "none", "object", "last"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (changes.SetKey(("n", "deeper"), 1), "config.json has no n.deeper"),
        (changes.SetKey(("n", "deeper", "still"), 1), "config.json has no n.deeper.still"),
        (changes.SetKey(("list", 3), "z"), "config.json has no list[3]"),
        (changes.SetKey(("list", 3, "b"), "z"), "config.json has no list[3].b"),
        (changes.SetKey(("list", "key"), "z"), "config.json has no list.key"),
        (changes.RemoveKey(("new",)), "config.json has no new"),
        (changes.RemoveKey(("new", "key")), "config.json has no new.key"),
        (changes.RemoveKey(("list", 0)), "config.json has no list[0]"),
        (changes.RemoveItem(("new",), "x"), "config.json has no new"),
        (changes.RenameKey(("new",), "x"), "config.json has no new"),
        (changes.RenameKey(("n",), "list"), "config.json has list already"),
        (changes.AddItem(("n",), "x"), "config.json has no list at n"),
        (changes.RemoveItem(("object",), "x"), "config.json has no list at object"),
    ],
)
def test_what_cannot_be_made_of_a_config(edit: ConfigEdit, words: str) -> None:
    config = copy.deepcopy(CONFIG)
    with pytest.raises(EditConflictError) as error:
        change_config(config, edit)
    assert str(error.value) == words and config == CONFIG


def kept(name: str, shard: str, start: int, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> OutputTensor:
    return outputs.keep(TensorRef(name, dtype, shape, shard, start, 8))


def editor(weight_map: dict[str, str] | None = None, *, complete: bool = True) -> Editor:
    """Two sound shards, one with two tensors, and a damaged one."""
    shards = {
        "one": {"a": kept("a", "one", 8), "b": kept("b", "one", 16)},
        "two": {"c": kept("c", "two", 8)},
        "bad": {"d": kept("d", "bad", 8)},
    }
    metadata = {"one": None, "two": {"format": "pt"}, "bad": None}
    return Editor(frozenset({"one", "two"}), complete, shards, metadata, {"config.json": {"n": 1}}, weight_map, set())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (changes.Drop("bad", "d"), "bad is damaged or not there"),
        (changes.Drop("three", "a"), "three is damaged or not there"),
        (changes.Drop("one", "c"), "c is not stored in one"),
        (changes.Move("one", "a", "bad"), "bad is damaged or not there"),
        (changes.Rename("one", "a", "b"), "b is stored already"),
        (changes.Rename("one", "a", "d"), "d is stored already"),
        (changes.Duplicate("one", "a", "c"), "c is stored already"),
        (changes.TakeValue("one", "a", "z"), "z is not stored"),
        (changes.Compute("one", "a", "dequantize", {}, ("z",)), "z is not stored"),
        (changes.Reshape("one", "a", (2,), (3,)), "a [2] cannot become [3]"),
        (changes.Compute("one", "a", "cast", {"dtype": "F16"}), "there is no cast from F32 to F16"),
        (changes.SetMetadata("bad", "format", "pt"), "bad is damaged or not there"),
        (changes.RebuildIndex(), "bad is damaged or not there"),
    ],
)
def test_what_cannot_be_made_of_tensors(edit: Edit, words: str) -> None:
    with pytest.raises(EditConflictError) as error:
        editor({"a": "one"}).make(edit)
    assert str(error.value) == words


@pytest.mark.parametrize("places", [True, False])
def test_an_index_that_alone_knows_what_is_lost_stays(places: bool) -> None:
    with pytest.raises(EditConflictError) as error:
        editor({"a": "one"}, complete=False).make(changes.RebuildIndex(places))
    assert str(error.value) == "a shard or an entry is missing: the index is the only record of what it held"


MAP = {"a": "one", "b": "two", "c": "two"}


@pytest.mark.parametrize(
    ("edit", "one", "two", "weight_map", "changed"),
    [
        (changes.Rename("one", "a", "x"), "b x", "c", {"x": "one", "b": "two", "c": "two"}, "one index"),
        (changes.Duplicate("one", "a", "x"), "a b x", "c", {**MAP, "x": "one"}, "one index"),
        (changes.Drop("one", "a"), "b", "c", {"b": "two", "c": "two"}, "one index"),
        (changes.Drop("one", "b"), "a", "c", MAP, "one index"),
        (changes.Move("one", "a", "two"), "b", "c a", {**MAP, "a": "two"}, "one two index"),
        (changes.Reshape("one", "a", (2,), (1, 2)), "a b", "c", MAP, "one"),
        (changes.TakeValue("one", "a", "c"), "a b", "c", MAP, "one"),
        (changes.Compute("one", "a", "cast", {"dtype": "BF16"}), "a b", "c", MAP, "one"),
        (changes.SetMetadata("two", "by", "x"), "a b", "c", MAP, "two"),
        (changes.SetKey(("n",), 2), "a b", "c", MAP, "config.json"),
        (changes.RebuildIndex(places=False), "a b", "c", MAP, "index"),
    ],
)
def test_what_an_edit_makes_of_tensors_and_index(
    edit: Edit, one: str, two: str, weight_map: dict[str, str], changed: str
) -> None:
    made = editor(dict(MAP))
    made.make(edit)
    assert [" ".join(made.shards[shard]) for shard in ("one", "two")] == [one, two]
    assert all(name == tensor.name for tensors in made.shards.values() for name, tensor in tensors.items())
    assert made.weight_map == weight_map
    assert made.changed == {INDEX_FILE if word == "index" else word for word in changed.split()}


def test_what_becomes_of_one_tensor() -> None:
    made = editor()
    for edit in (
        changes.Reshape("one", "a", (2,), (1, 2)),
        changes.TakeValue("one", "b", "c"),
        changes.Duplicate("two", "c", "e"),
        changes.Compute("two", "c", "cast", {"dtype": "BF16"}),
        changes.Duplicate("two", "c", "f"),
        changes.SetMetadata("one", "format", "pt"),
        changes.SetMetadata("two", "by", "x"),
    ):
        made.make(edit)
    found = {name: tensor for tensors in made.shards.values() for name, tensor in tensors.items()}
    assert {name: (tensor.operation, tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "a": ("reshape", "F32", (1, 2)),
        "b": ("take", "F32", (2,)),
        "c": ("cast", "BF16", (2,)),
        "d": ("keep", "F32", (2,)),
        "e": ("duplicate", "F32", (2,)),
        "f": ("cast", "BF16", (2,)),
    }
    assert [tensor.name for tensor in found["b"].inputs] == ["b", "c"]
    assert made.metadata == {"one": {"format": "pt"}, "two": {"format": "pt", "by": "x"}, "bad": None}
    assert made.weight_map is None and INDEX_FILE not in made.changed


def test_an_index_made_anew_keeps_what_no_shard_holds() -> None:
    made = editor({"a": "two", "lost": "three"})
    made.sound = frozenset(made.shards)
    made.make(changes.RebuildIndex())
    assert made.weight_map == {"lost": "three", "a": "one", "b": "one", "c": "two", "d": "bad"}
    made = editor()
    made.sound = frozenset(made.shards)
    made.make(changes.RebuildIndex(places=False))
    assert made.weight_map == {"a": "one", "b": "one", "c": "two", "d": "bad"}


def constant(name: str) -> OutputTensor:
    return OutputTensor(name, "F32", (2,), CONSTANT, (), {"hex": "00" * 8})


def part(name: str, first: int) -> OutputTensor:
    return OutputTensor(name, "F32", (2,), SLICE, kept("s", "one", 40).inputs, {"first": first, "shape": [2]})


def test_data_keeps_the_order_of_the_sources() -> None:
    first, twice = kept("z", "one", 8), kept("z", "one", 8)._replace(name="y", operation="duplicate")
    ordered = [constant("n"), constant("o"), first, twice, kept("b", "one", 16), part("q", 0), part("p", 2)]
    ordered.append(kept("a", "two", 8))
    shard = layout.lay_out("new", reversed(ordered), {"format": "pt"})
    assert [tensor.name for tensor in shard.tensors] == [tensor.name for tensor in ordered]
    assert (shard.file, shard.metadata) == ("new", {"format": "pt"})


@pytest.mark.parametrize(
    ("nbytes", "order"), [(4, "byte word pair"), (8, "byte word pair"), (2, "word pair byte"), (5, "word pair byte")]
)
def test_wide_elements_start_on_their_boundary(nbytes: int, order: str) -> None:
    """The widest go first where the order of the sources puts one elsewhere."""
    tensors = [
        outputs.keep(TensorRef("byte", "U8", (nbytes,), "s", 0, nbytes)),
        outputs.keep(TensorRef("word", "F32", (1,), "s", 10, 4)),
        outputs.keep(TensorRef("pair", "F16", (2,), "s", 20, 4)),
    ]
    assert " ".join(tensor.name for tensor in layout.lay_out("s", tensors, None).tensors) == order


@pytest.mark.parametrize(
    ("like", "text"),
    [
        (None, '{\n  "a": "é"\n}\n'),
        ("", '{\n  "a": "é"\n}\n'),
        ('{\n  "b": 1\n}', '{\n  "a": "é"\n}'),
        ('{\n    "b": 1\n}\n', '{\n    "a": "é"\n}\n'),
        ('{\n\t"b": 1\n}\n', '{\n\t"a": "é"\n}\n'),
        ('{"b": 1}', '{"a": "é"}'),
        ('{"b": "\\u00e9"}\n', '{"a": "\\u00e9"}\n'),
        ('{"b": "\\u00e9à"}', '{"a": "é"}'),
        ("{ }", '{\n  "a": "é"\n}'),
    ],
)
def test_a_config_is_written_as_it_was(like: str | None, text: str) -> None:
    assert layout.config_text({"a": "é"}, like) == text


def test_an_index_keeps_what_is_not_ours() -> None:
    shard = layout.lay_out("m.safetensors", [kept("b", "one", 16), kept("a", "one", 8)], None)
    sums, weight_map = {"total_size": 16}, {"a": "m.safetensors", "b": "m.safetensors"}
    assert json.loads(layout.index_text(None, [shard])) == {"metadata": sums, "weight_map": weight_map}
    old = Index(INDEX_FILE, {"lost": "x"}, {"by": "x", "total_size": 1}, {"extra": 1})
    assert json.loads(layout.index_text(old, [shard])) == {
        "metadata": {"by": "x", **sums},
        "weight_map": weight_map,
        "extra": 1,
    }
