"""`asvtk evaluate` as a user runs it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from asvtk.bin.main import main
from asvtk.io.scores import write_scores

EVAL, DEV = [f"A{i:02d}" for i in range(7, 20)], [f"A{i:02d}" for i in range(1, 7)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_set(path, split="eval", n=260, seed=0, separation=2.0):
    rng = np.random.default_rng(seed)
    bonafide = np.arange(n) % 4 == 0
    attacks = np.where(bonafide, "-", np.resize(EVAL if split == "eval" else DEV, n))
    names = [f"LA_{split[0].upper()}_{i:07d}" for i in range(n)]
    scores = rng.normal(size=n) + separation * bonafide
    write_scores(path, names, attacks, np.where(bonafide, "bonafide", "spoof"), scores)
    return names, attacks, bonafide


def write_asv(path, attacks):
    rng = np.random.default_rng(1)
    lines = [f"bonafide target {x:.6f}" for x in rng.normal(8, 2, 200)]
    lines += [f"bonafide nontarget {x:.6f}" for x in rng.normal(0, 2, 200)]
    lines += [f"{attacks[i % len(attacks)]} spoof {x:.6f}" for i, x in enumerate(rng.normal(5, 2, 200))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def asvtk(*arguments, status=0):
    assert main(["evaluate", *map(str, arguments)]) == status


def test_tables_and_json(folder, capsys):
    write_set("eval.txt")
    write_asv(folder / "asv.txt", EVAL)
    asvtk(
        "--scores",
        "eval.txt",
        "--asv-scores",
        "asv.txt",
        "--json",
        "out.json",
        "--operating-point",
        "far=0.1",
        "--grouping",
        "database",
    )
    out, err = capsys.readouterr()
    results = json.loads((folder / "out.json").read_text())
    assert re.search(rf"\| eval.txt +\| +65 \| +195 \| +{results['eer_percent']:.3f} \|", out)
    for words in (
        "higher score = bona fide",
        "min t-DCF legacy",
        "min t-DCF revisited",
        "hybrid (TTS+VC)",
        "known",
    ):
        assert words.lower() in out.lower()
    assert "not the official ASVspoof 2019 LA eval set: 65 bona fide and 195 spoof" in out and not err
    assert list(results["per_attack"]) == EVAL and results["per_attack"]["A17"]["kind"] == "VC"
    assert results["per_kind"].keys() == {"TTS", "VC", "TTS_VC"}
    assert results["operating_points"]["far=0.1"]["far"] <= 0.1 and "at far=0.1: threshold" in out


def test_grouping_of_the_database_and_of_the_reports(folder):
    write_set("eval.txt")
    for grouping, n in (("database", 2), ("reports", 10)):
        asvtk("--scores", "eval.txt", "--grouping", grouping, "--json", "out.json")
        assert json.loads((folder / "out.json").read_text())["per_known"]["known"]["n"] == 15 * n


def test_other_databases_are_not_given_our_attacks(folder):
    write_scores("x.txt", ["E_1", "E_2"], ["A07", "-"], ["spoof", "bonafide"], [0, 1])
    asvtk("--scores", "x.txt", "--json", "out.json")
    results = json.loads((folder / "out.json").read_text())
    assert results["per_attack"]["A07"]["kind"] is None and results["per_known"] == {}


def test_wrong_polarity_is_told_and_negate_mends_it(folder, capsys):
    write_set("eval.txt", separation=-2.0)
    asvtk("--scores", "eval.txt")
    out, err = capsys.readouterr()
    assert "WORSE THAN CHANCE" in err and "--negate" in err and "**Warning**" in out
    asvtk("--scores", "eval.txt", "--negate", "--json", "out.json")
    assert "CHANCE" not in capsys.readouterr().err
    assert json.loads((folder / "out.json").read_text())["negated"] is True


@pytest.mark.parametrize("with_attacks", [True, False])
def test_dev_scored_with_the_asv_of_eval_is_refused(folder, capsys, with_attacks):
    names, _, bonafide = write_set("dev.txt", "dev")
    if not with_attacks:
        write_scores("dev.txt", names, ["-"] * 260, np.where(bonafide, "bonafide", "spoof"), np.arange(260.0))
    write_asv(folder / "asv.txt", EVAL)
    asvtk("--scores", "dev.txt", "--asv-scores", "asv.txt", status=1)
    assert re.search(
        r"asv.txt holds ASV scores of .*A07.*(they|these ASV scores) belong to another set",
        capsys.readouterr().err,
    )


def test_protocol_where_by_and_compare(folder, capsys):
    names, attacks, bonafide = write_set("a.txt", separation=3.0)
    write_set("b.txt", separation=1.0, seed=2)
    (folder / "scores.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(reversed(names))))
    keys, subsets = (
        np.where(bonafide, "bonafide", "spoof"),
        np.where(np.arange(260) < 200, "eval", "progress"),
    )
    trials = enumerate(zip(names, attacks, keys, subsets, strict=True))
    key = [f"LA_{i % 3} {name} alaw x {attack} {key} notrim {of}" for i, (name, attack, key, of) in trials]
    (folder / "key.txt").write_text("\n".join(key))
    asvtk("--scores", "scores.txt", "--protocol", "key.txt")
    assert "--where subset=eval" in capsys.readouterr().out
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--where", "subset=eval", "--by", "speaker",
          "--compare", "b.txt", "--bootstrap", "50", "--json", "out.json")  # fmt: skip
    results = json.loads((folder / "out.json").read_text())
    assert results["n_bonafide"] + results["n_spoof"] == 200 and len(results["per_speaker"]) == 3
    assert results["comparison"]["difference_percent"] < 0 and results["comparison"]["p_value"] < 0.05
    assert len(results["intervals"]["eer_percent"]) == 2
    assert "paired bootstrap" in capsys.readouterr().out
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--where", "subset=hidden", status=1)
    assert "there are: eval, progress" in capsys.readouterr().err
    asvtk("--scores", "a.txt", "--where", "subset=eval", status=1)
    assert "no such column in a.txt or its protocol; there are: none" in capsys.readouterr().err
    asvtk("--scores", "scores.txt", status=1)
    assert "carry no labels" in capsys.readouterr().err


def test_old_attack_names_become_the_official_ones(folder):
    write_scores("dev.txt", ["LA_D_1", "LA_D_2"], ["VC_4", "-"], ["spoof", "bonafide"], [0, 1])
    asvtk("--scores", "dev.txt", "--json", "out.json")
    assert list(json.loads((folder / "out.json").read_text())["per_attack"]) == ["A06"]


def experiment(folder, name, seed):
    names = write_set(folder / name / "scores" / "dev.txt", "dev", seed=seed)
    write_set(folder / name / "scores" / "eval.txt", "eval", seed=seed + 50)
    (folder / name / "config.yaml").write_text(f"model: {{name: mlp}}\nseed: {seed}\n")
    return names


def test_experiments(folder, capsys):
    names, _, bonafide = experiment(folder, "exp/one", 1)
    experiment(folder, "exp/two", 2)
    write_asv(folder / "data/dev/asv_scores", DEV)
    write_asv(folder / "data/eval/asv_scores", EVAL)
    labels = "".join(f"{u} {'bonafide' if b else 'spoof'}\n" for u, b in zip(names, bonafide, strict=True))
    (folder / "data/dev/utt2label").write_text(labels)
    asvtk("--exp", "exp/one", "exp/two", "--summary", "summary.md")
    out = capsys.readouterr().out
    results = [json.loads((folder / f"exp/{name}/results.json").read_text()) for name in ("one", "two")]
    assert results[0].keys() == {"dev", "eval"}
    assert list(results[0]["dev"]["per_attack"]) == DEV and results[0]["eval"]["min_tdcf"] > 0
    page = (folder / "exp/one/RESULTS.md").read_text()
    for words in ("# Results of one", "- date: 20", "- git revision: ", "numpy ", "Higher score = bona fide"):
        assert words in page
    for words in ("| Attack, eval", "min t-DCF legacy", "min t-DCF revisited", "not the official"):
        assert words in page
    summary = (folder / "summary.md").read_text()
    assert summary in out
    for name in ("dev", "eval"):
        values = [of[name]["eer_percent"] for of in results]
        assert f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in summary

    (folder / "data/dev/utt2label").write_text(labels + "LA_D_9999999 spoof\n")
    asvtk("--exp", "exp/one", status=1)
    assert "1 of its 261 trials have no score: LA_D_9999999" in capsys.readouterr().err


def test_experiment_without_asv_scores_has_no_tdcf(folder):
    write_set("exp/one/scores/eval.txt")
    asvtk("--exp", "exp/one")
    results = json.loads((folder / "exp/one/results.json").read_text())
    assert results.keys() == {"eval"} and results["eval"]["min_tdcf"] is None


def test_what_does_not_go_together_is_refused(folder, capsys):
    for arguments, words in (
        (["--exp", "none"], "run stage 4"),
        (["--exp", "none", "--negate"], "--negate does not go with --exp"),
        (["--scores", "none", "--summary", "x"], "--summary does not go with --scores"),
        (["--scores", "none", "--compare-negate"], "--compare-negate does not go with"),
        (["--scores", "none"], "no such file"),
    ):
        asvtk(*arguments, status=1)
        assert words in capsys.readouterr().err


def test_real_files_flipped_and_renamed(shared_data, folder):
    oracles = shared_data / "oracles"
    expected = json.loads((oracles / "expected.json").read_text())
    for name, split, more in (("air_ocsoftmax", "eval", ["--negate"]), ("nesl_baseline_gmm", "dev", [])):
        asvtk("--scores", oracles / f"{name}.txt.gz", "--asv-scores",
              oracles / f"ASVspoof2019.LA.asv.{split}.gi.trl.scores.txt.gz", "--protocol",
              oracles / f"ASVspoof2019.LA.cm.{split}.trl.txt.gz", "--json", "out.json", *more)  # fmt: skip
        results, known = json.loads((folder / "out.json").read_text()), expected[f"{name}.txt.gz"]
        assert results["min_tdcf"] == pytest.approx(known["min_tdcf_legacy"], abs=1e-12)
        assert {a: r["eer_percent"] / 100 for a, r in results["per_attack"].items()} == pytest.approx(
            {a: r["eer"] for a, r in known["per_attack"].items()}, abs=1e-12
        )
        assert not any("official" in note for note in results["notes"])


def test_evaluate_never_waits_for_torch_or_scipy(folder):
    write_set("eval.txt")
    code = (
        "import sys; from asvtk.bin.main import main; main(['evaluate', '--scores', 'eval.txt']);"
        "print(sorted({'torch', 'scipy', 'sklearn', 'yaml'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "option",
    ["--bootstrap -1", "--seed -1", "--seed 1_0", "--columns score", "--labels a=b", "--where x",
     "--labels bonafide=1,spoof=1"],
)  # fmt: skip
def test_fault_19_options_out_of_range_are_usage_errors(capsys, option):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "--scores", "a", *option.split()])
    assert end.value.code == 2
    assert re.search("expected|both bonafide and spoof", capsys.readouterr().err.splitlines()[-1])


def test_fault_12_where_narrows_the_protocol_before_labels_are_matched(folder, capsys):
    names, attacks, bonafide = write_set("whole.txt")
    subsets = np.where(np.arange(260) < 200, "eval", "progress")
    keys = np.where(bonafide, "bonafide", "spoof")
    rows = zip(names, attacks, keys, subsets, strict=True)
    key = (f"LA_1 {name} alaw x {attack} {key} notrim {of}\n" for name, attack, key, of in rows)
    (folder / "key.txt").write_text("".join(key))
    lines = (folder / "whole.txt").read_text().splitlines(keepends=True)
    (folder / "part.txt").write_text("".join(lines[:200]))
    results = []
    for scores in ("whole.txt", "part.txt"):
        asvtk("--scores", scores, "--protocol", "key.txt", "--where", "subset=eval", "--json", "out.json")
        results.append(json.loads((folder / "out.json").read_text()))
        results[-1].pop("scores")
    assert results[0] == results[1] and results[0]["n_bonafide"] + results[0]["n_spoof"] == 200
    (folder / "less.txt").write_text("".join(lines[1:200]))
    asvtk("--scores", "less.txt", "--protocol", "key.txt", "--where", "subset=eval", status=1)
    assert f"1 of its 200 trials have no score: {names[0]}" in capsys.readouterr().err


def test_names_that_differ_by_folder_and_suffix_are_matched_and_noted(folder, capsys):
    (folder / "meta.csv").write_text("file,speaker,label\n0.wav,a,bona-fide\n1.wav,b,spoof\n")
    (folder / "scores.txt").write_text("clips/1.flac -1\nclips/0.flac 2\n")
    asvtk("--scores", "scores.txt", "--protocol", "meta.csv")
    assert "names compared without folder and audio suffix" in capsys.readouterr().out
    (folder / "twice.txt").write_text("x/0.wav 1\ny/0.wav 2\nx/1.wav 3\n")
    asvtk("--scores", "twice.txt", "--protocol", "meta.csv", status=1)
    assert "an audio suffix only" in capsys.readouterr().err


def test_asv_scores_of_2021_take_their_key(folder):
    write_set("eval.txt")
    write_asv(folder / "asv.txt", EVAL)
    asvtk("--scores", "eval.txt", "--asv-scores", "asv.txt", "--json", "old.json")
    scores, key = [], []
    for i, line in enumerate((folder / "asv.txt").read_text().splitlines()):
        attack, kind, score = line.split()
        for subset, shift in (("eval", 0), ("hidden", 3)):
            scores.append(f"LA_1-alaw-x t{i}-{subset} {float(score) + shift}\n")
            key.append(f"LA_1-alaw-x t{i}-{subset} alaw x {attack} {kind} notrim {subset}\n")
    (folder / "asv21.txt").write_text("".join(reversed(scores)))
    (folder / "asv_key.txt").write_text("".join(key))
    rows = [line.split() for line in (folder / "eval.txt").read_text().splitlines()]
    (folder / "key.txt").write_text("".join(f"s {u} alaw x {a} {k} notrim eval\n" for u, a, k, _ in rows))
    asvtk("--scores", "eval.txt", "--protocol", "key.txt", "--where", "subset=eval", "--asv-scores",
          "asv21.txt", "--asv-key", "asv_key.txt", "--json", "new.json")  # fmt: skip
    old, new = (json.loads((folder / f"{name}.json").read_text()) for name in ("old", "new"))
    assert new["min_tdcf_revisited"] == old["min_tdcf_revisited"] and new["asv"] == old["asv"]
    asvtk("--scores", "eval.txt", "--asv-scores", "asv21.txt", status=1)


PLACES = "utterance=1,score=2,key=3"


@pytest.mark.parametrize(
    "name, told",
    [
        ("asvspoof5_sasv_dev_scores_label.csv.gz",
         "--columns score=cm_score,key=sasv_label --labels bonafide=1,bonafide=2,spoof=0"),
        ("asvspoof5_eval50k_wavlm_dann.tsv.gz", "--columns key=y_task --labels bonafide=0,spoof=1"),
        ("asvspoof5_eval50k_w2v2_erm.tsv.gz",
         "--columns utterance=1,score=2,key=4 --labels bonafide=0,spoof=1"),
        ("la19_codecfake_vocoder_w2v2aasist.txt.gz", f"--columns {PLACES}"),
        ("itw_codecfake_vocoder_w2v2aasist.txt.gz", f"--columns {PLACES}"),
    ],
)  # fmt: skip
def test_fault_12_any_table_once_told(shared_data, folder, name, told):
    corpus = shared_data / "oracles" / "cross_corpus"
    known = json.loads((corpus / "expected.json").read_text())[name]
    asvtk("--scores", corpus / name, *told.split(), "--json", "out.json")
    results = json.loads((folder / "out.json").read_text())
    results["eer"] = results["eer_percent"] / 100
    names = (
        "n_bonafide",
        "n_spoof",
        "eer",
        "eer_threshold",
        "min_dcf",
        "min_dcf_threshold",
        "act_dcf",
        "cllr",
    )
    names = [n for n in names if n in known]
    assert len(names) >= 6
    assert {n: results[n] for n in names} == pytest.approx({n: known[n] for n in names}, abs=1e-7)


def test_speaker_verification_beside_the_countermeasure(shared_data, folder, capsys):
    corpus = shared_data / "oracles" / "cross_corpus"
    name = "asvspoof5_sasv_dev_scores_label.csv.gz"
    known = json.loads((corpus / "expected.json").read_text())[name]
    asvtk("--scores", corpus / name, "--columns", "score=cm_score,asv_score=asv_score,key=sasv_label",
          "--labels", "target=1,nontarget=2,spoof=0", "--json", "out.json")  # fmt: skip
    results = json.loads((folder / "out.json").read_text())
    assert results["sasv"]["asv_score"]["a_dcf"] == pytest.approx(
        known["a_dcf_of_asv_score"]["min_a_dcf"], abs=1e-9
    )
    assert results["min_tdcf_revisited"] == pytest.approx(known["min_tdcf_with_own_asv"], abs=1e-9)
    out = capsys.readouterr().out
    assert re.search(r"\| CM score +\| +0\.1561 \|", out) and re.search(r"\| ASV score +\| +0\.3336 \|", out)
    assert "t-EER 1.990 %" in out
    asvtk("--scores", corpus / name, "--columns", "score=cm_score,asv_score=asv_score,key=sasv_label",
          "--labels", "bonafide=1,bonafide=2,spoof=0", status=1)  # fmt: skip
    assert "--labels target=WORD" in capsys.readouterr().err
    (folder / "mixed.txt").write_text("a target 1\nb nontarget 0\nc bonafide 1\nd spoof 0\n")
    asvtk("--scores", "mixed.txt", "--columns", "utterance=1,key=2,score=3", status=1)
    assert "mixed.txt:3" in capsys.readouterr().err


def test_per_attack_values_of_a_file_without_attacks(shared_data, folder):
    oracles = shared_data / "oracles"
    name = "la19_codecfake_vocoder_w2v2aasist.txt.gz"
    known = json.loads((oracles / "cross_corpus" / "expected.json").read_text())[name]
    asvtk("--scores", oracles / "cross_corpus" / name, "--columns", PLACES, "--protocol",
          oracles / "ASVspoof2019.LA.cm.eval.trl.txt.gz", "--asv-scores",
          oracles / "ASVspoof2019.LA.asv.eval.gi.trl.scores.txt.gz", "--json", "out.json")  # fmt: skip
    results = json.loads((folder / "out.json").read_text())
    assert results["min_tdcf"] == pytest.approx(known["min_tdcf_2019_legacy_closed_form"], abs=1e-9)
    assert {
        attack: row["eer_percent"] / 100 for attack, row in results["per_attack"].items()
    } == pytest.approx(known["eer_by_attack"], abs=1e-12)


def test_two_way_table_from_the_command_line(folder, capsys):
    names, attacks, bonafide = write_set("a.txt")
    keys, codecs = np.where(bonafide, "bonafide", "spoof"), np.resize(["none", "gsm", "opus"], 260)
    rows = zip(names, codecs, attacks, keys, strict=True)
    key = (f"LA_1 {name} {codec} x {attack} {key} notrim eval\n" for name, codec, attack, key in rows)
    (folder / "key.txt").write_text("".join(key))
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--table", "official", "--table", "attack,speaker",
          "--json", "out.json")  # fmt: skip
    tables = json.loads((folder / "out.json").read_text())["tables"]
    assert tables.keys() == {"attack,codec", "attack,speaker"}
    assert list(tables["attack,codec"]["A07"]) == ["C1", "C6", "C7", "Pooled"]
    assert "EER %: attack by codec" in capsys.readouterr().out
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--table", "attack,room", status=1)
    assert "no column 'room'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["evaluate", "--scores", "a.txt", "--table", "attack"])
    assert "expected ROWS,COLUMNS" in capsys.readouterr().err


def test_resampling_by_groups_from_the_command_line(folder, capsys):
    names, attacks, bonafide = write_set("a.txt")
    write_set("b.txt", seed=4)
    keys = np.where(bonafide, "bonafide", "spoof")
    rows = enumerate(zip(names, attacks, keys, strict=True))
    key = (f"LA_{i % 9} {name} alaw x {attack} {key} notrim eval\n" for i, (name, attack, key) in rows)
    (folder / "key.txt").write_text("".join(key))
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--bootstrap", "50", "--bootstrap-by", "speaker",
          "--compare", "b.txt", "--json", "out.json")  # fmt: skip
    results = json.loads((folder / "out.json").read_text())
    assert results["bootstrap"]["groups"] == 9 and results["comparison"]["by"] == "speaker"
    out = capsys.readouterr().out
    assert "(paired bootstrap of whole groups by speaker)" in out and "(DeLong)" in out
    asvtk("--scores", "a.txt", "--protocol", "key.txt", "--bootstrap-by", "speaker", status=1)
    assert "say how often too" in capsys.readouterr().err
    asvtk(
        "--scores", "a.txt", "--protocol", "key.txt", "--bootstrap-by", "room", "--bootstrap", "9", status=1
    )
    assert "no column 'room'" in capsys.readouterr().err
