"""Results of others: they are data, each with its source, and say what the project's notes say."""

import json

import pytest

from asvtk.bin.main import main
from asvtk.corpora.facts import load_facts
from asvtk.report.comparison import ATTACKS, Row, as_written, compare, comparison_table, load_published

KINDS = ["published", "recomputed from released scores", "claim of the project reports"]


@pytest.fixture(scope="module")
def rows():
    return load_published()["systems"]


def row_of(rows, name, kind):
    (row,) = [row for row in rows if (row["name"], row["kind"]) == (name, kind)]
    return row


def test_every_row_is_complete_and_names_its_source(rows):
    assert list(load_published()["kinds"]) == KINDS
    for row in rows:
        assert row.keys() == {*Row._fields, "set", "kind"}, row["name"]
        assert row["source"].strip() and row["kind"] in KINDS and row["set"] == "ASVspoof 2019 LA eval"
        assert set(row["per_attack"]) <= set(ATTACKS)
        for value in (row["dev_eer_percent"], row["eval_eer_percent"], *row["per_attack"].values()):
            assert value is None or isinstance(value, str) or 0 <= value < 50, row["name"]
        assert isinstance(row["min_tdcf"], (str, type(None))) or row["min_tdcf"] < 1


@pytest.mark.parametrize(
    ("name", "kind", "dev", "eval_eer", "tdcf", "attacks"),
    [
        ("S1 Cascade-Mamba", 2, 0.274, 2.735, 0.0199, {"A07": 0.69, "A18": 13.31, "A19": 0.92}),
        ("S2 WavLM-Mamba", 2, 1.731, 9.57, 0.1675, {"A07": 0.42, "A17": 21.09, "A18": 32.13}),
        ("S3 WavLM-MoE-Mamba", 2, 1.139, 9.17, 0.1519, {"A07": 0.37, "A18": 41.84, "A19": 23.67}),
        ("AASIST", 0, None, 0.83, 0.0275, {}),
        ("AASIST", 1, None, 0.8295, 0.0275, {"A09": 0.0, "A17": 1.26, "A18": 2.61, "A19": 0.65}),
        ("XLS-R last layer, frozen, + LCNN", 1, None, 0.6357, 0.0190, {"A07": 0.12, "A17": 1.40}),
    ],
)
def test_rows_say_what_the_notes_say(rows, name, kind, dev, eval_eer, tdcf, attacks):
    row = row_of(rows, name, KINDS[kind])
    assert row["dev_eer_percent"] == dev
    assert round(row["eval_eer_percent"], 4) == eval_eer and round(row["min_tdcf"], 4) == tdcf
    assert {attack: row["per_attack"].get(attack) for attack in attacks} == attacks
    assert len(row["per_attack"]) in (0, len(ATTACKS))


def test_claims_are_called_claims(rows):
    claims = [row for row in rows if row["kind"] == KINDS[2]]
    assert len(claims) >= 5 and all(
        "claim to test" in row["remarks"] or row["eval_eer_percent"] is None for row in claims
    )
    assert "claims to test" in load_published()["kinds"][KINDS[2]]


@pytest.mark.parametrize(
    ("file", "name", "negate"),
    [("rawgat_st_mul", "RawGAT-ST, mul", False), ("air_ocsoftmax", "OC-Softmax, LFCC + ResNet18", True)],
)
def test_recomputed_rows_are_what_we_compute(rows, shared_data, tmp_path, file, name, negate):
    oracles, out = shared_data / "oracles", tmp_path / "out.json"
    asv = oracles / "ASVspoof2019.LA.asv.eval.gi.trl.scores.txt.gz"
    arguments = ["--scores", oracles / f"{file}.txt.gz", "--asv-scores", asv, "--json", out]
    main(["evaluate", *map(str, arguments), *["--negate"] * negate])
    ours, row = json.loads(out.read_text()), row_of(rows, name, KINDS[1])
    assert row["eval_eer_percent"] == pytest.approx(ours["eer_percent"], abs=1e-9)
    assert row["min_tdcf"] == pytest.approx(ours["min_tdcf"], abs=1e-9)
    assert row["per_attack"] == pytest.approx(
        {attack: of["eer_percent"] for attack, of in ours["per_attack"].items()}, abs=0.00501
    )


def of_set(split, official, **values):
    counts = {"n_bonafide": 7355, "n_spoof": 63882} if official else {"n_bonafide": 10, "n_spoof": 1234}
    empty = {"eer_percent": 1.0, "min_tdcf": None, "per_attack": {}}
    return empty | counts | {"split": split, "official": official} | values


def test_only_the_official_set_stands_in_one_table_with_the_others():
    facts = load_facts()
    official = compare({"ours": {"eval": of_set("eval", True, eer_percent=0.7)}}, facts)
    assert official.caution is None
    text = comparison_table(official)
    assert text.count("| System") == 1 and "0.700" in text and "0.8295" not in text and "0.830" in text

    ours = of_set("eval", False, per_attack={"A07": {"eer_percent": 12.0}})
    apart = compare({"ours": {"eval": ours, "dev": of_set("dev", False, eer_percent=3.0)}}, facts)
    assert "10 bona fide, 1,234 spoof" in apart.caution and "7,355" in apart.caution
    assert apart.ours.rows[0].dev_eer_percent == "3.000" and apart.ours.rows[0].per_attack == {"A07": 12.0}
    text = comparison_table(apart)
    assert text.count("| System") == 2
    assert text.index("ours") < text.index("Not comparable") < text.index("AASIST")

    dev_only = compare({"ours": {"dev": of_set("dev", True)}}, facts)
    assert dev_only.caution.startswith("This report holds the dev set only")
    assert dev_only.ours.rows[0].eval_eer_percent is None
    other = compare({"ours": {"trials": of_set(None, False)}}, facts)
    assert other.caution and other.ours.rows[0].eval_eer_percent == "1.000"


def test_best_first_within_a_kind():
    comparison = compare({"ours": {"eval": of_set("eval", True)}}, load_facts())
    for group in comparison.others:
        numbers = [row.eval_eer_percent for row in group.rows if row.eval_eer_percent is not None]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.83, 3, "0.83"), (0.8295112264, 3, "0.830"), ("<1", 2, "<1"), (None, 2, "–"), (0.2, 2, "0.20")],
)
def test_no_more_decimals_than_the_source_gave(value, digits, text):
    assert as_written(value, digits) == text
