"""Configurations: what is not understood stops the run, with the nearest thing that is."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from asvtk.io.config import apply_overrides, build, build_named, differences, load_yaml, to_mapping
from asvtk.io.errors import AsvtkError


@dataclass(frozen=True)
class Inner:
    name = "inner"
    lr: float = 1e-3
    layers: Literal["all"] | tuple[int, ...] = "all"
    crop: int | None = None


@dataclass(frozen=True)
class Outer:
    epochs: int
    inner: Inner = field(default_factory=Inner)
    fast: bool = False
    extra: Inner | None = None

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError("epochs must be positive")


def test_values_arrive_and_go_back():
    config = build(Outer, {"epochs": 3, "inner": {"lr": "1e-4", "layers": [3, 12], "crop": 5}}, "c.yaml")
    assert config == Outer(3, Inner(1e-4, (3, 12), 5))
    assert (
        build(Outer, to_mapping(config) | {"inner": {"lr": 1e-4, "layers": [3, 12], "crop": 5}}, "c")
        == config
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ({"epoch": 3}, r"c\.yaml: unknown key 'epoch'; did you mean 'epochs'\?"),
        ({}, "the key 'epochs' is missing"),
        ({"epochs": 2.5}, r"c\.yaml\.epochs: 2\.5 does not fit; expected a whole number"),
        ({"epochs": True}, "True does not fit; expected a whole number"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"epochs": 1, "fast": "yes"}, "expected true or false"),
        ({"epochs": 1, "inner": {"lrr": 1}}, r"c\.yaml\.inner: unknown key 'lrr'; did you mean 'lr'"),
        ({"epochs": 1, "inner": {"layers": "some"}}, "expected all or a list, each a whole number"),
        ({"epochs": 1, "inner": {"lr": "fast"}}, "expected a number"),
        ({"epochs": 1, "inner": 3}, "expected keys and values"),
        ({"epochs": 1, "extra": {"lrr": 1}}, r"c\.yaml\.extra: unknown key 'lrr'; did you mean 'lr'"),
        ({"epochs": 1, 1: 2}, "unknown key 1"),
    ],
)
def test_what_does_not_fit_is_refused(content, message):
    with pytest.raises(AsvtkError, match=message):
        build(Outer, content, "c.yaml")


def test_choice_by_name():
    assert build_named({"inner": Inner}, {"name": "inner", "lr": 1}, "c") == Inner(1.0)
    with pytest.raises(AsvtkError, match="unknown 'iner'; did you mean 'inner'"):
        build_named({"inner": Inner}, {"name": "iner"}, "c")
    with pytest.raises(AsvtkError, match="the key 'name' is missing; one of inner"):
        build_named({"inner": Inner}, {}, "c")


def test_overrides_win_in_order():
    content = apply_overrides({"a": {"b": 1}}, ["a.b=2", "a.c=[1, 2]", "d=true", "a.b=3"])
    assert content == {"a": {"b": 3, "c": [1, 2]}, "d": True}
    with pytest.raises(AsvtkError, match="expected section.key=value"):
        apply_overrides({}, ["a.b"])
    with pytest.raises(AsvtkError, match="a is a value, no section"):
        apply_overrides({"a": 1}, ["a.b=2"])


def test_override_of_a_section_that_is_named_and_empty():
    assert apply_overrides({"a": None}, ["a.b=2"]) == {"a": {"b": 2}}


def test_override_that_is_no_yaml_says_so():
    with pytest.raises(AsvtkError, match=r"a.b=\[3,.* is no YAML: .*; write lists without spaces"):
        apply_overrides({}, ["a.b=[3,"])


def test_differences_are_named_by_their_path():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 -> 3",
        "d: None -> 4",
    ]


@pytest.mark.parametrize(
    "text", ["a: [1", "- 1\n- 2\n", "", "!!python/object/apply:os.system ['touch pwned']"]
)
def test_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(AsvtkError, match=r"c\.yaml: (is no YAML|expected 'key: value')"):
        load_yaml(tmp_path / "c.yaml")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(AsvtkError, match=r"none\.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml")
