"""Two-way tables: cells worked out by hand, margins, layouts, and bad input."""

import json

import numpy as np
import pytest

from asvtk.io.asv_scores import AsvScores, read_asv_scores
from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import ScoreTable
from asvtk.metrics import evaluate
from asvtk.metrics.eer import compute_eer
from asvtk.metrics.results import read_results
from asvtk.metrics.tables import two_way_table, two_way_tables
from asvtk.report.markdown import results_tables


def made(rows, **more):
    """A table of rows (score, key, attack, codec)."""
    scores, keys, attacks, codecs = zip(*rows, strict=True)
    return ScoreTable(
        utterances=np.array([f"u{i}" for i in range(len(rows))], dtype=object),
        bonafide=np.array(keys) == "b",
        attacks=np.array(attacks, dtype=object),
        columns={"codec": np.array(codecs, dtype=object)} | more,
        source="scores.txt",
        scores=np.array(scores, dtype=float),
    )


#: uncoded speech is told apart, that through gsm is not; A02 has no trial through gsm
ROWS = [
    *((score, "b", "-", "none") for score in (4, 5)),
    *((score, "s", "A01", "none") for score in (0, 1)),
    *((score, "s", "A02", "none") for score in (2, 6)),
    *((score, "b", "-", "gsm") for score in (1, 3)),
    *((score, "s", "A01", "gsm") for score in (0, 2)),
]
# Targets and nontargets cross at 25 %, where -1 is the last trial rejected; from there on it accepts.
ASV = AsvScores(
    target=np.array([-4.0, 5, 6, 7]),
    nontarget=np.array([-1.0, -2, -3, 5]),
    spoof=np.array([9.0, -9, 9, -9, 9, 9]),
    attacks=frozenset({"A01", "A02"}),
    source="asv.txt",
    columns={
        "codec": {
            "target": np.array(["none", "none", "gsm", "gsm"], dtype=object),
            "nontarget": np.array(["none", "none", "gsm", "gsm"], dtype=object),
            "spoof": np.array(["none", "none", "none", "none", "gsm", "gsm"], dtype=object),
        },
        "attack": {
            "target": np.full(4, "-", object),
            "nontarget": np.full(4, "-", object),
            "spoof": np.array(["A01", "A01", "A02", "A02", "A01", "A01"], dtype=object),
        },
    },
)


def test_cells_by_hand():
    cells = two_way_table(made(ROWS), "attack", "codec", ASV)
    assert list(cells) == ["A01", "A02", "Pooled"] and list(cells["A01"]) == ["C1", "C6", "Pooled"]
    assert {column: cell["n"] for column, cell in cells["A01"].items()} == {"C1": 2, "C6": 2, "Pooled": 4}
    assert cells["A01"]["C1"]["n_bonafide"] == 2 and cells["A01"]["Pooled"]["n_bonafide"] == 4
    eers = {row: [cell["eer_percent"] for cell in of.values()] for row, of in cells.items()}
    # A01 by gsm: bona fide 1 and 3, spoofs 0 and 2; A02: spoofs 2 and 6 about bona fide 4 and 5
    assert eers["A01"][:2] == [0, 50] and eers["A02"][:2] == [50, None]
    # Uncoded the ASV accepts one of two targets, nontargets and spoofs A01:
    # C0 = (.9405 + .095) / 2, C1 the rest, C2 = .5 / 2; a perfect CM pays C0.
    c0, c2 = (0.9405 + 0.095) / 2, 0.25
    assert cells["A01"]["C1"]["min_tdcf_revisited"] == pytest.approx(c0 / (c0 + min(0.9405 - c0, c2)))
    # Through gsm it accepts both targets, one of two nontargets, and all of A01: C0 = .095 / 2.
    c0, c1, c2 = 0.095 / 2, 0.9405 - 0.095 / 2, 0.5
    cheapest = min(0.5 * c2, 0.5 * c1, c1, c2)
    assert cells["A01"]["C6"]["min_tdcf_revisited"] == pytest.approx((c0 + cheapest) / (c0 + c2))
    assert cells["A02"]["C6"] == {"eer_percent": None, "min_tdcf_revisited": None, "n": 0, "n_bonafide": 2}


def test_margins_are_the_values_of_all_trials():
    table = made(ROWS)
    results = evaluate(table, ASV, by=["codec"], tables=[("attack", "codec")])
    cells = results["tables"]["attack,codec"]
    for key in ("eer_percent", "min_tdcf_revisited"):
        assert cells["Pooled"]["Pooled"][key] == results[key]
    assert cells["A02"]["Pooled"]["eer_percent"] == results["per_attack"]["A02"]["eer_percent"]
    assert cells["Pooled"]["C6"]["eer_percent"] == results["per_codec"]["gsm"]["eer_percent"]
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_it_is_shown_with_dashes_and_explained(tmp_path):
    results = {"eval": evaluate(made(ROWS), ASV, tables=[("attack", "codec")])}
    text = results_tables(results)
    assert "| EER %: attack by codec" in text and "| min t-DCF revisited: attack by codec" in text
    row = next(line for line in text.splitlines() if line.startswith("| A02 ") and line.count("|") == 5)
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["50.00", "–"]
    assert "Codec: C1 none, C6 gsm." in text
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert read_results(tmp_path / "results.json")["eval"]["tables"] == results["eval"]["tables"]
    results["eval"]["tables"]["attack,codec"]["A01"]["C1"]["eer_percent"] = "x"
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(AsvtkError, match="tables: expected"):
        read_results(tmp_path / "results.json")


def test_without_columns_of_the_asv_there_is_no_tdcf():
    bare = ASV._replace(columns={})
    cells = two_way_table(made(ROWS), "attack", "codec", bare)
    assert cells["A01"]["C1"]["min_tdcf_revisited"] is None
    assert cells["Pooled"]["Pooled"]["min_tdcf_revisited"] is not None


def test_bad_input():
    table = made(ROWS)
    with pytest.raises(AsvtkError, match="no column 'compression'.*there are: attack, codec"):
        two_way_table(table, "attack", "compression")
    with pytest.raises(AsvtkError, match="C1, C6 in two columns"):
        two_way_table(table, "codec+codec", "attack")
    with pytest.raises(AsvtkError, match="no printed layout.*--table attack,codec"):
        two_way_tables(table, [("official", "")])
    table.columns["speaker"] = table.utterances
    table.columns["trial"] = table.utterances
    with pytest.raises(AsvtkError, match="at most"):
        two_way_table(many(), "speaker", "speaker")


def many(n=400):
    names = np.array([f"s{i // 2}" for i in range(n)], dtype=object)
    rows = [(i, "bs"[i % 2], "-", "none") for i in range(n)]
    return made(rows, speaker=names)


def test_layout_of_2021_df(tmp_path):
    vocoders = ["traditional_vocoder", "unknown", "neural_vocoder_autoregressive"]
    compressions = ["oggm4a", "nocodec", "low_mp3"]
    rng, key, scores = np.random.default_rng(0), [], []
    for i in range(900):
        bonafide = i % 3 == 0
        vocoder = "bonafide" if bonafide else vocoders[i % 7 % 3]
        key.append(f"s DF_E_{i} {compressions[i % 11 % 3]} asvspoof {'-' if bonafide else 'A07'} "
                   f"{'bonafide' if bonafide else 'spoof'} notrim eval {vocoder} - - - -")  # fmt: skip
        scores.append(f"DF_E_{i} {rng.normal() + bonafide}")
    (tmp_path / "key.txt").write_text("\n".join(key))
    protocol = read_protocol(tmp_path / "key.txt")
    table = ScoreTable(
        utterances=protocol.utterances, scores=np.array([float(line.split()[1]) for line in scores])
    )
    table = label(table, protocol)
    (axes, cells), *_ = two_way_tables(table, [("official", "")]).items()
    assert axes == "vocoder,compression"
    assert list(cells) == ["Traditional", "Neural AR", "Unknown", "Pooled"]
    assert list(cells["Pooled"]) == ["C1", "C2", "C9", "Pooled"]
    there = table.columns["compression"] == "low_mp3"
    expected = compute_eer(
        table.scores[there & table.bonafide],
        table.scores[there & (table.columns["vocoder"] == "unknown")],
    )[0]
    assert cells["Unknown"]["C2"]["eer_percent"] == 100 * expected


def test_layout_of_2021_pa(tmp_path):
    key, scores = [], []
    for i in range(240):
        room, attack = f"R{1 + i % 2}", f"r{1 + i % 2} m{1 + i % 3} s{2 + i % 2} c2 spoof"
        of_bonafide = f"{room} M1 D{1 + i % 5} - - - - bonafide"
        of_spoof = f"{room} M1 d{1 + i % 5} {attack}"
        key.append(f"p PA_E_{i} {of_spoof if i % 4 > 1 else of_bonafide} notrim eval")
        scores.append((i * 7919) % 240)
    (tmp_path / "key.txt").write_text("\n".join(key))
    protocol = read_protocol(tmp_path / "key.txt")
    table = label(ScoreTable(utterances=protocol.utterances, scores=np.array(scores, float)), protocol)
    (cells,) = two_way_tables(table, [("official", "")]).values()
    assert list(cells) == ["R1", "R2", "M1", "D1", "D2", "D3", "D4", "D5", "Pooled"]
    assert list(cells["D1"]) == [
        "r1", "r2", "m1", "m2", "m3", "c2", "s2", "s3", "d1", "d2", "d3", "d4", "d5", "Pooled",
    ]  # fmt: skip
    # D is where bona fide speakers stand, d where attackers do: each restricts its class only.
    near = table.scores[table.columns["distance_to_asv"] == "D1"]
    far = table.scores[table.columns["distance_to_asv"] == "d2"]
    assert cells["D1"]["d2"]["eer_percent"] == 100 * compute_eer(near, far)[0]
    assert cells["R1"]["r2"]["n"] == 0 and cells["R1"]["r2"]["eer_percent"] is None
    assert cells["R1"]["r1"]["n_bonafide"] == np.count_nonzero(
        table.bonafide & (table.columns["asv_room"] == "R1")
    )


def test_the_asv_key_of_2021_gives_the_columns(tmp_path):
    key, scores = [], []
    kinds = ["target", "nontarget", "spoof"]
    for i in range(60):
        kind, codec = kinds[i % 3], ["none", "gsm"][i % 5 % 2]
        trial = f"LA_1-{codec}-x t{i}"
        attack = "A07" if kind == "spoof" else "bonafide"
        key.append(f"{trial} {codec} x {attack} {kind} notrim {'eval' if i < 50 else 'hidden'}")
        scores.append(f"{trial} {i}")
    (tmp_path / "key.txt").write_text("\n".join(key))
    (tmp_path / "asv.txt").write_text("\n".join(scores))
    asv = read_asv_scores(tmp_path / "asv.txt", tmp_path / "key.txt", {"subset": "eval"})
    assert asv.columns["codec"]["target"].size == asv.target.size == 17
    assert {*asv.columns["attack"]["spoof"]} == {"A07"} == asv.attacks
    expected = asv.spoof[[int(score) % 5 % 2 == 1 for score in asv.spoof]]
    assert (asv.spoof[asv.columns["codec"]["spoof"] == "gsm"] == expected).all()
