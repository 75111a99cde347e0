"""Keys that configurations had once: refused, with what became of them."""

import pytest

from asvtk.io.errors import AsvtkError
from asvtk.io.former import refuse_former


@pytest.mark.parametrize(
    "content, message",
    [
        ({"frontend": {"mode": "split"}}, "frontend.mode is frontend.cache now: true for what was cached"),
        (
            {"frontend": {"conditioning": {"level": None, "lowpass_hz": 7000}}},
            "frontend.conditioning.level is called frontend.conditioning.loudness_db now",
        ),
        (
            {"frontend": {"conditioning": {"highest": 7000}}},
            "frontend.conditioning.highest is called frontend.conditioning.lowpass_hz now",
        ),
        ({"model": {"name": "cascade_mamba", "neck": "concat"}}, "model.neck is called model.fusion now"),
        ({"model": {"name": "committee"}}, "model.name=committee was removed; train the systems by themsel"),
    ],
)
def test_each_is_named_with_its_remedy(content, message):
    with pytest.raises(AsvtkError, match=f"c.yaml: {message}"):
        refuse_former(content, "c.yaml")


def test_what_is_there_now_passes():
    refuse_former({"frontend": {"name": "lfcc", "cache": True}, "model": {"name": "moe_mamba"}}, "c.yaml")
    refuse_former({"frontend": None, "model": "moe_mamba"}, "c.yaml")


def test_keys_of_a_class_outside_the_package_are_its_own():
    refuse_former({"model": {"name": "my_pkg.my_mod:Mine", "neck": 3, "audio": True}}, "c.yaml")
