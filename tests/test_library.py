"""Strict YAML, messages that name line and field, and where names lead."""

from __future__ import annotations

import math
import os
import sys
import time
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from coevo import library
from coevo.errors import SpecError
from coevo.library import find_data, find_plugin, list_data, list_plugins, parse_yaml, read_yaml, scalar


def refused(text: str) -> str:
    """Returns the one line with which a text is refused."""
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "spec.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is refused -------------------------------------------------------------------------------------------


def test_a_duplicate_key_names_both_lines_and_the_field():
    said = refused("budget:\n  designs: 5\n  seed: 1\n  designs: 6\n")
    assert said == "spec.yaml:4: budget.designs: stands twice (first on line 2); remove one"


def test_the_same_key_in_two_mappings_is_no_duplicate():
    assert parse_yaml("a: {x: 1}\nb: {x: 2}\n", "spec.yaml").data == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_number_and_the_same_text_as_keys_are_duplicates():
    assert "stands twice" in refused("a:\n  1: x\n  '1': y\n")


def test_an_alias_is_refused_with_its_line():
    assert refused("a: &x [1, 2]\nb: *x\n") == ("spec.yaml:2: aliases (*name) are not supported; write the value out")


def test_an_alias_bomb_of_400_bytes_is_refused_at_once():
    lines = ["a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)]
    bomb = "\n".join(lines)
    assert len(bomb) <= 400  # and nine to the eighth words, written out
    started = time.perf_counter()
    assert "spec.yaml:2: aliases" in refused(bomb)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * 5000 + "]" * 5000, "- " * 5000, "a: " + "{b: " * 5000, "? " * 5000],
    ids=["lists", "dashes", "mappings", "keys"],
)
def test_a_file_5000_levels_deep_is_refused_in_one_line(text):
    started = time.perf_counter()
    assert refused(text) == f"spec.yaml:1: nested deeper than {library.MAX_DEPTH} levels"
    assert time.perf_counter() - started < 5


def test_depth_up_to_the_limit_is_read():
    inside = library.MAX_DEPTH - 1
    value = parse_yaml("a: " + "[" * inside + "]" * inside, "spec.yaml").data["a"]
    for _ in range(inside - 1):
        (value,) = value
    assert value == []
    assert "nested deeper" in refused("a: " + "[" * (inside + 1) + "]" * (inside + 1))


@pytest.mark.parametrize(
    "value",
    ["!!python/object/apply:os.getcwd []", "!!python/tuple [1]", "!!set {x, y}", "!mine {b: 1}", "!!binary aGk=",
     "!!str 5", "!!int '5'", "!mine 5", "! 5"],
)  # fmt: skip
def test_every_tag_is_refused_on_scalars_lists_and_mappings(value):
    said = refused(f"a: 1\nb: {value}\n")
    assert said.startswith("spec.yaml:2: the tag ") and said.endswith(" is not supported; remove it")


@pytest.mark.parametrize("text", ["", "# only a remark\n", "5", "[a, b]", "~", "just words"])
def test_what_holds_no_mapping_is_refused(text):
    assert refused(text) == "spec.yaml: must hold a mapping (lines of `key: value`)"


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 'open\n", 3), ("a: 1\n\tb: 2\n", 2), ("a: @x", 1), ("a: 1\n---\nb: 2\n", 2), ("a: [1, 2\n", 2)],
    ids=["quote", "tab", "reserved", "two documents", "bracket"],
)
def test_what_is_not_yaml_is_refused_with_its_line(text, line):
    assert refused(text).startswith(f"spec.yaml:{line}: not YAML: ")


def test_a_control_character_is_refused():
    assert refused("a: \0").startswith("spec.yaml: not YAML: ")


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "{a: 1}: 2\n"])
def test_a_key_that_is_no_word_is_refused(text):
    assert refused(text) == "spec.yaml:1: a key must be a plain word"


def test_a_merge_key_merges_nothing():
    assert parse_yaml("a: {<<: {b: 1}}", "spec.yaml").data == {"a": {"<<": {"b": 1}}}


@given(st.text(alphabet="ab:-[]{},'\"&*!|>#? \n\t~1.eé%@`", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        data = parse_yaml(text, "spec.yaml").data
    except SpecError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(key, str) for key in data)


# -- files -----------------------------------------------------------------------------------------------------


def read_refused(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_yaml(path, "shown.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:  # sparse: 1 TiB on no disk, which nothing could read
        file.truncate(1 << 40)
    assert read_refused(path) == f"shown.yaml: {1 << 40} bytes; a specification has at most {library.MAX_BYTES}"


def test_a_file_of_just_the_allowed_size_is_read(tmp_path):
    path = tmp_path / "full.yaml"
    head = b"a: 1\n#"
    path.write_bytes(head + b"x" * (library.MAX_BYTES - len(head)))
    assert read_yaml(path).data == {"a": 1}


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Käse".encode("latin-1"))
    assert read_refused(path) == "shown.yaml: is not UTF-8 text"


def test_an_absent_file_and_a_folder_are_refused_by_their_shown_name(tmp_path):
    assert read_refused(tmp_path / "none.yaml") == "shown.yaml: cannot be read: No such file or directory"
    assert read_refused(tmp_path) == "shown.yaml: cannot be read: Is a directory"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert read_refused(tmp_path / "pipe.yaml") == "shown.yaml: is a pipe or device; a specification is a file"


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_text("a: 1\n", encoding="utf-8-sig")
    assert read_yaml(path).data == {"a": 1}


# -- scalars ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.1e6", 1.1e6), ("1e5", 1e5), ("-2E-3", -2e-3), (".5", 0.5), ("1.", 1.0), ("+1.5", 1.5),
        ("12", 12), ("-7", -7), ("+7", 7), ("007", 7), ("9" * 19, int("9" * 19)),
        (".inf", math.inf), ("-.inf", -math.inf), ("true", True), ("false", False), ("null", None), ("~", None),
        ("", None),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    found = parse_yaml(f"a: {text}", "spec.yaml").data["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["12:30", "yes", "no", "on", "off", "y", "2001-01-01", "1_000", "0x1g", "1e", "e5", "1.2.3", "=", "-", "."]
)
def test_what_yaml_1_1_would_read_as_something_else_stays_text(text):
    assert parse_yaml(f"a: [{text}]", "spec.yaml").data["a"] == [text] or text == "-"
    assert scalar(text) == text


def test_nan_is_a_float():
    assert math.isnan(parse_yaml("a: .nan", "spec.yaml").data["a"])


@pytest.mark.parametrize(("digits", "value"), [(21, 1e21), (400, math.inf), (5000, math.inf)])
def test_a_longer_integer_is_a_float_that_a_field_for_integers_refuses_in_one_line(digits, value):
    text = "9" * digits
    assert parse_yaml(f"a: {text}", "spec.yaml").data["a"] == value
    said = complaint(f"name: toy\nparts: [{{name: a, size_kib: {text}}}]")
    assert said.startswith("toy.yaml:2: parts.a.size_kib: input should be ") and said.endswith(f", got {value}")
    assert complaint(f"name: toy\ncount: {text}").startswith("toy.yaml:2: count: ")


@pytest.mark.parametrize("text", ["'12'", '"12"', "|-\n  12", ">-\n  12"])
def test_quoted_and_block_scalars_are_text(text):
    assert parse_yaml(f"a: {text}\n", "spec.yaml").data["a"] == "12"


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_every_float_that_python_writes_is_read_back(value):
    assert scalar(repr(value)) == value


@given(st.integers(-(2**63), 2**64 - 1))
@settings(deadline=None)
def test_every_integer_of_64_bits_is_read_back(value):
    assert scalar(str(value)) == value and isinstance(scalar(str(value)), int)


# -- lines, fields and models ----------------------------------------------------------------------------------

TEXT = """\
name: toy
memories:
  - name: dram
    words: 4
  - {name: glb, size_kib: 12}
  - words: 2
array: {rows: 3}
"""


def test_every_field_has_its_line():
    lines = parse_yaml(TEXT, "toy.yaml").lines
    assert lines["name",] == 1
    assert lines["memories", 0, "words"] == 4
    assert lines["memories", 1] == lines["memories", 1, "size_kib"] == 5
    assert lines["array", "rows"] == 7


def test_items_of_a_list_go_by_their_name_where_they_have_one():
    document = parse_yaml(TEXT, "toy.yaml")
    assert document.dotted(("memories", 1, "size_kib")) == "memories.glb.size_kib"
    assert document.dotted(("memories", 2, "words")) == "memories.2.words"
    assert document.dotted(("memories", 1, "absent", 3)) == "memories.glb.absent.3"


def test_an_absent_field_is_located_at_what_would_hold_it():
    document = parse_yaml(TEXT, "toy.yaml")
    assert str(document.error(("array", "columns"), "is missing")) == "toy.yaml:7: array.columns: is missing"
    assert str(document.error((), "is wrong")) == "toy.yaml:1: is wrong"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    size_kib: int = 1
    share: float = 0.5


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: list[Part] = []
    either: Part | int = 0
    count: int = 0


def complaint(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "toy.yaml").parse(Spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_document_that_is_right_becomes_the_model():
    parsed = parse_yaml("name: toy\nparts: [{name: a, size_kib: 3, share: 1.5e-1}]", "toy.yaml").parse(Spec)
    assert parsed == Spec(name="toy", parts=[Part(name="a", size_kib=3, share=0.15)])


def test_an_unknown_key_is_answered_with_the_near_one_and_those_known_there():
    assert complaint("name: toy\nparts:\n- name: a\n  size_kb: 3\n") == (
        "toy.yaml:4: parts.a.size_kb: unknown key (did you mean 'size_kib'? known: name, share, size_kib)"
    )
    assert complaint("name: toy\nqqq: 3\n") == "toy.yaml:2: qqq: unknown key (known: count, either, name, parts)"


def test_an_unknown_key_within_a_union_names_the_documents_path_alone():
    said = complaint("name: toy\neither: {name: a, sise_kib: 3}\n")
    assert said.startswith("toy.yaml:2: either.sise_kib: unknown key (did you mean 'size_kib'? ")


def test_a_missing_key_is_named_with_the_line_of_what_lacks_it():
    assert complaint("name: toy\nparts:\n- size_kib: 3\n") == "toy.yaml:3: parts.0.name: is missing; add it"


def test_an_unknown_key_comes_before_the_missing_one_that_it_was_meant_to_be():
    assert complaint("nmae: toy\n").startswith("toy.yaml:1: nmae: unknown key (did you mean 'name'?")


@pytest.mark.parametrize("value", ["12 KiB", "1_000"])
def test_text_for_a_number_is_answered_with_the_units_place(value):
    assert complaint(f"name: toy\nparts: [{{name: a, size_kib: {value}}}]") == (
        f"toy.yaml:2: parts.a.size_kib: must be a plain number, got {value!r}; the unit stands in the field's name"
    )


def test_a_wrong_type_shows_the_value():
    assert complaint("name: [1, 2]\n") == "toy.yaml:1: name: input should be a valid string"
    assert complaint("name: 5\n") == "toy.yaml:1: name: input should be a valid string, got 5"


def test_the_first_mistake_is_told_and_the_others_are_counted():
    said = complaint("name: toy\nparts:\n- {name: a, size_kib: x}\n- {name: b, size_kib: y}\n- {name: 3}\n")
    assert said.startswith("toy.yaml:3: parts.a.size_kib: ") and said.endswith(" [and 2 more]")


# -- data files ------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty working directory and an empty package."""
    (tmp_path / "here").mkdir()
    (tmp_path / "checkout" / "coevo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(library, "_PACKAGE", tmp_path / "checkout" / "coevo")
    return tmp_path


def placed(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("name: toy\n")
    return path


def test_a_name_is_looked_up_here_then_in_the_package_then_in_the_checkout(folders):
    candidates = [
        folders / "here" / "spaces" / "toy.yaml",
        folders / "checkout" / "coevo" / "_data" / "spaces" / "toy.yaml",
        folders / "checkout" / "spaces" / "toy.yaml",
    ]
    for path in reversed(candidates):
        placed(path)
        assert find_data("spaces", "toy").resolve() == path


def test_a_path_is_looked_up_beside_the_file_that_names_it_then_here(folders):
    here, beside = placed(folders / "here" / "toy.yaml"), folders / "there" / "toy.yaml"
    near_file = str(folders / "there" / "experiment.yaml")
    assert find_data("spaces", "toy.yaml", near_file).resolve() == here
    placed(beside)
    assert find_data("spaces", "toy.yaml", near_file) == beside
    assert find_data("spaces", str(here), near_file) == here


def test_a_path_is_not_looked_up_among_the_named_files(folders):
    placed(folders / "here" / "spaces" / "toy.yaml")
    with pytest.raises(SpecError, match=r"no space named 'toy\.yaml'"):
        find_data("spaces", "toy.yaml")


def test_an_unknown_name_lists_the_near_one_and_all_names_of_every_folder(folders):
    placed(folders / "here" / "spaces" / "mine.yaml")
    placed(folders / "checkout" / "spaces" / "toys.yaml")
    assert list_data("spaces") == ["mine", "toys"]
    with pytest.raises(SpecError) as caught:
        find_data("spaces", "toy")
    assert str(caught.value) == "no space named 'toy' (did you mean 'toys'? known: mine, toys)"


# -- plug-ins --------------------------------------------------------------------------------------------------


def installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Pretends that other packages bring these entry points (name, value) of the optimisers."""
    found = EntryPoints(EntryPoint(name, value, "coevo.optim") for name, value in points)
    monkeypatch.setattr(library, "entry_points", found.select)


def test_a_plain_name_is_a_module_of_coevo():
    from coevo.optim.nsga2 import plugin

    assert find_plugin("optim", "nsga2") is plugin


def test_modules_without_a_plugin_are_none():
    assert "analytical" in list_plugins("cost") and "nest" not in list_plugins("cost")
    with pytest.raises(SpecError, match="no cost plug-in named 'nest'"):
        find_plugin("cost", "nest")


@pytest.mark.parametrize("name", ["nsga", "NSGA2", "../optim/nsga2", "", "nsga2.py", "nsga2:plugin"])
def test_an_unknown_plugin_lists_those_known(name):
    with pytest.raises(SpecError) as caught:
        find_plugin("optim", name)
    assert str(caught.value).startswith(f"no optim plug-in named {name!r} (")
    assert f"known: {', '.join(list_plugins('optim'))})" in str(caught.value)


@pytest.mark.parametrize("name", ["theirs", "their-optimiser"])
def test_an_entry_point_of_another_package_is_found_and_listed(monkeypatch, name):
    installed(monkeypatch, (name, "collections:OrderedDict"))
    assert name in list_plugins("optim")
    assert find_plugin("optim", name).__name__ == "OrderedDict"


def test_coevos_own_plugin_comes_before_an_entry_point_of_its_name(monkeypatch):
    installed(monkeypatch, ("nsga2", "collections:OrderedDict"))
    assert find_plugin("optim", "nsga2").__module__ == "coevo.optim.nsga2"
    assert list_plugins("optim").count("nsga2") == 1


def test_an_entry_point_may_share_its_name_with_a_module_that_is_no_plugin(monkeypatch):
    installed(monkeypatch, ("__init__", "collections:OrderedDict"))
    assert find_plugin("optim", "__init__").__name__ == "OrderedDict"


@pytest.mark.parametrize("value", ["no_such_package_anywhere:Optimizer", "collections:NoSuchName"])
def test_an_entry_point_that_fails_on_import_is_the_users_to_cure(monkeypatch, value):
    installed(monkeypatch, ("broken", value))
    with pytest.raises(SpecError) as caught:
        find_plugin("optim", "broken")
    assert str(caught.value).startswith(f"optim plug-in 'broken' ({value}) fails on import: ")


USERS = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
from pydantic import BaseModel

class Settings(BaseModel):
    mode: Literal["slow", "fast"] = "slow"

@dataclass(frozen=True)
class Mine:
    settings: Settings | None = None
"""


@pytest.fixture
def users(tmp_path):
    """Writes a user's file beside an experiment and finds a plug-in in it."""

    def find(text: str, name: str) -> Any:
        (tmp_path / "mine.py").write_text(text)
        return find_plugin("optim", name, str(tmp_path / "experiment.yaml"))

    return find


def test_a_users_file_is_found_beside_the_file_that_names_it_then_here(tmp_path, users, monkeypatch):
    assert users("where = 'beside'", "mine.py:where") == "beside"
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.py").write_text("where = 'here'")
    monkeypatch.chdir(tmp_path / "here")
    assert find_plugin("optim", "mine.py:where", str(tmp_path / "experiment.yaml")) == "beside"
    assert find_plugin("optim", "mine.py:where", str(tmp_path / "none" / "experiment.yaml")) == "here"
    assert find_plugin("optim", f"{tmp_path}/mine.py:where") == "beside"


def test_a_users_file_may_define_dataclasses_and_models_with_postponed_annotations(users):
    assert users(USERS, "mine.py:Mine")().settings is None
    assert users(USERS, "mine.py:Settings")().mode == "slow"


def test_a_users_module_is_not_left_importable_so_that_workers_get_it_by_value(users):
    mine = users(USERS, "mine.py:Mine")
    assert mine.__module__ not in sys.modules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError: "),
        ("import no_such_package_anywhere\n", "ModuleNotFoundError: No module named 'no_such_package_anywhere'"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
    ],
    ids=["syntax", "import", "raises", "exits"],
)
def test_a_users_file_that_fails_on_import_says_why_in_one_line(users, tmp_path, text, said):
    with pytest.raises(SpecError) as caught:
        users(text, "mine.py:Mine")
    assert str(caught.value).startswith(f"{tmp_path}/mine.py: fails on import: {said}")
    assert "\n" not in str(caught.value)
    assert "coevo_user_mine" not in sys.modules


def test_a_users_file_without_the_name_lists_those_it_has(users):
    with pytest.raises(SpecError, match=r"mine\.py has no 'Mein' \(did you mean 'Mine'\?"):
        users("class Mine: ...\n", "mine.py:Mein")


def test_an_absent_users_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"optim plug-in 'none\.py:Mine': there is no file none\.py"):
        find_plugin("optim", "none.py:Mine", str(tmp_path / "experiment.yaml"))
