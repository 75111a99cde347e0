"""Published systems to the last digit: `expected.json` is what the official code gives for these files."""

import json

import pytest

from asvtk.io.asv_scores import read_asv_scores
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import read_scores
from asvtk.metrics import evaluate

FILES = ["rawgat_st_mul.txt.gz", "air_ocsoftmax.txt.gz", "nesl_baseline_gmm.txt.gz", "itw_xlsr_mamba.txt.gz"]
DEV_NAMES = {"A01": "SS_1", "A02": "SS_2", "A03": "SS_4", "A04": "US_1", "A05": "VC_1", "A06": "VC_4"}


def near(value):
    return None if value is None else pytest.approx(value, rel=0, abs=1e-9)


@pytest.mark.parametrize("name", FILES)
def test_every_value_is_reproduced(shared_data, name):
    oracles = shared_data / "oracles"
    expected = json.loads((oracles / "expected.json").read_text())[name]
    table, asv = read_scores(oracles / name), None
    if expected["negate_scores"]:
        table.scores = -table.scores
    if name.startswith("itw"):
        table = label(table, read_protocol(oracles / "in_the_wild_key.txt.gz"))
    else:
        split = "dev" if name.startswith("nesl") else "eval"
        asv = read_asv_scores(oracles / f"ASVspoof2019.LA.asv.{split}.gi.trl.scores.txt.gz")
        for official, old in DEV_NAMES.items():
            table.attacks[table.attacks == old] = official
        protocol = read_protocol(oracles / f"ASVspoof2019.LA.cm.{split}.trl.txt.gz")
        assert (label(table, protocol).attacks == table.attacks).all()
    results = evaluate(table, asv)

    assert (results["n_bonafide"], results["n_spoof"]) == (expected["n_bonafide"], expected["n_spoof"])
    assert results["eer_percent"] / 100 == near(expected["eer"])
    assert results["eer_rocch_percent"] / 100 == near(expected["eer_rocch"])
    assert results["min_tdcf"] == near(expected["min_tdcf_legacy"])
    assert results["min_tdcf_revisited"] == near(expected["min_tdcf_revisited"])
    assert results["min_dcf"] == near(expected["min_dcf_asvspoof5"])
    assert results["act_dcf"] == near(expected["act_dcf_asvspoof5"])
    assert results["cllr"] == near(expected["cllr"])
    assert results["C0_C1_C2"] == near(expected["C0_C1_C2"])
    of_asv = dict(zip(("eer", "threshold", "p_fa", "p_miss", "p_miss_spoof", "p_fa_spoof"),
                      ("eer_asv", "threshold", "Pfa_asv", "Pmiss_asv", "Pmiss_spoof_asv", "Pfa_spoof_asv"),
                      strict=True))  # fmt: skip
    for ours, theirs in of_asv.items() if expected["asv"] else ():
        assert results["asv"][ours] == near(expected["asv"][theirs])
    assert results["per_attack"].keys() == expected["per_attack"].keys()
    for attack, of_attack in expected["per_attack"].items():
        row = results["per_attack"][attack]
        assert row["n"] == of_attack["n"]
        assert row["eer_percent"] / 100 == near(of_attack["eer"])
        assert row["min_tdcf"] == near(of_attack["min_tdcf_legacy_pooled_asv"])
