"""Registries of names: what another package brings changes nothing of this one."""

import sys
import types

import pytest

from asvtk.frontends import FRONTENDS
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.io.config import to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models import MODELS
from asvtk.nn.config import LOSSES


def test_a_class_that_takes_over_a_config_leaves_the_other_its_name(monkeypatch):
    module = types.ModuleType("registry_example")
    module.Mine = type("Mine", (Lfcc,), {})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content = {"name": "registry_example:Mine", "filters": 30}
    mine, again = (FRONTENDS.config(content, "frontend") for _ in range(2))
    assert type(FRONTENDS.build(mine)) is module.Mine and to_mapping(mine)["name"] == content["name"]
    assert mine == again and LfccConfig.name == "lfcc"
    assert type(FRONTENDS.build(FRONTENDS.config({"name": "lfcc"}, "frontend"))) is Lfcc


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere:X", "nowhere cannot be imported"),
        ("json:X", "json has no X"),
        ("json:JSONDecoder", "no Config"),
    ],
)
def test_what_is_no_front_end_is_named(name, message):
    with pytest.raises(AsvtkError, match=message):
        FRONTENDS.config({"name": name}, "frontend")


@pytest.mark.parametrize("registry", [FRONTENDS, MODELS, LOSSES], ids=["frontend", "model", "loss"])
def test_every_name_has_the_configuration_that_its_class_takes(registry):
    for name in registry:
        config = registry.config({"name": name} | ({"model": "none"} if name == "ssl" else {}), "test")
        assert registry.class_of(config).Config is type(config), name
