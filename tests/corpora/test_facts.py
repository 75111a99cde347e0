"""What is known of ASVspoof 2019 LA, against its own protocols."""

import json

import numpy as np
import pytest

from asvtk.corpora.facts import load_facts, prefixes_of, rename_attacks, split_of, unofficial
from asvtk.io.errors import AsvtkError


def test_facts_agree_with_the_official_protocols(shared_data):
    facts = load_facts()
    counted = json.loads((shared_data / "oracles" / "asvspoof2019_la_facts.json").read_text())
    for split, official in facts["splits"].items():
        assert official["attacks"] == counted[split]["attacks"]
        assert official["bonafide"] == counted[split]["labels"]["bonafide"]
        assert official["spoof"] == counted[split]["labels"]["spoof"]
        assert official["speakers"] == counted[split]["n_speakers"]
    assert {a: of["kind"] for a, of in facts["attacks"].items()} == {
        a: of["type"] for a, of in counted["attacks"].items()
    }
    for grouping in facts["groupings"].values():
        assert sorted(grouping["known"] + grouping["unknown"]) == sorted(facts["attacks"])


def test_splits_are_told_by_the_utterances():
    facts = load_facts()
    for names, prefixes, split in (
        (["LA_D_1", "LA_D_2"], {"LA_D_"}, "dev"),
        (["LA_E_1", "LA_D_2"], {"LA_D_", "LA_E_"}, None),
        (["DF_E_1"], {"DF_E_"}, None),
        (["LA_D_1", "E_1"], None, None),
    ):
        assert prefixes_of(facts, np.array(names)) == prefixes
        assert split_of(facts, prefixes) == split


def test_a_corpus_of_other_size_is_told():
    facts = load_facts()
    assert unofficial(facts, "eval", 7355, 63882) is None
    assert "130 bona fide and 169 spoof trials against 7355 and 63882" in unofficial(facts, "eval", 130, 169)


def test_old_names_become_official_ones():
    assert rename_attacks(load_facts(), np.array(["VC_4", "-", "A01"])).tolist() == ["A06", "-", "A01"]


def test_unknown_database_is_refused():
    with pytest.raises(AsvtkError, match="there are: asvspoof2019_la"):
        load_facts("nowhere")
