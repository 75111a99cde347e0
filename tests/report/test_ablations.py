"""Ablations: lists of cells, their table, and the script that trains them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from asvtk.bin.main import main
from asvtk.io.errors import AsvtkError
from asvtk.report.ablations import ablation_table, read_list, write_config
from asvtk.testing import detector_for
from asvtk.training.checkpoint import save_detector
from asvtk.training.config import load_config

RECIPE = Path(__file__).parents[2] / "egs" / "asvspoof2019_la"
BASE = """
frontend: {name: lfcc, crop: {samples: 6000}}
model: {name: plain_mamba, stack: 4, d_model: 16, blocks: 1, d_state: 4, d_embedding: 8}
loss: {name: oc_softmax}
training: {epochs: 1, warmup_epochs: 0, batch_size: 4}
"""
LIST = """
Tiny:
  config: base.yaml
  changes: {training.epochs: 2}
  cells:
    tiny: {}
    tiny_lstm: {model.mixer: bilstm, loss: {name: wce, bonafide_weight: 0.5}}
    cascade: {model: {name: cascade_mamba}}
"""


@pytest.fixture
def listed(tmp_path):
    """A list of cells in a folder conf/ablations, and its base in conf/."""
    path = tmp_path / "conf" / "ablations" / "tiny.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "conf" / "base.yaml").write_text(BASE)
    path.write_text(LIST)
    return path


# ---- lists


def test_changes_of_a_cell_stand_on_those_of_its_section(listed, tmp_path):
    cells = read_list(listed)
    assert [cell.name for cell in cells] == ["tiny", "tiny_lstm", "cascade"]
    keys = {write_config(cell, tmp_path / "out") for cell in cells}
    assert len(keys) == 1  # one front-end
    config = load_config(tmp_path / "out" / "tiny_lstm.yaml")
    assert config.training.epochs == 2 and config.model.mixer == "bilstm" and config.model.d_model == 16
    assert config.loss.name == "wce" and config.loss.bonafide_weight == 0.5  # a whole section is replaced


def test_cells_share_caches_where_front_end_and_augmentation_agree(listed, tmp_path):
    cells = {
        "a": {},
        "b": {"model.d_model": 8},
        "c": {"frontend.crop.repeat": False},
        "d": {"augmentation": {"copies": 2}},
    }
    listed.write_text(yaml.safe_dump({"S": {"config": "base.yaml", "cells": cells}}))
    a, b, c, d = (write_config(cell, tmp_path) for cell in read_list(listed))
    assert a == b and len({a, c, d}) == 3


@pytest.mark.parametrize(
    "section, said",
    [
        ({"config": "base.yaml"}, "expected the keys config, cells"),
        ({"config": "base.yaml", "cells": {"a": 3}}, "a: expected {section.key: value, ...}, found 3"),
        ({"config": "base.yaml", "cells": {"a b": {}}}, "a b: a cell's name is made of letters"),
        ({"config": "base.yaml", "cells": {"SEED": {}}}, "SEED: a cell's name"),
        ({"config": "none.yaml", "cells": {"a": {}}}, "none.yaml: no such file"),
        ({"config": "base.yaml", "cells": {"a": {"model.width": 3}}}, "unknown key 'width'"),
        ({"cells": {"a": {"model.d_model": 8}}}, "a: names no config, nor does its section"),
        ({"config": "base.yaml", "attacks": "A17", "cells": {"a": {}}}, "attacks: expected [NAME, ...]"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(listed, tmp_path, section, said):
    listed.write_text(yaml.safe_dump({"S": section}))
    with pytest.raises(AsvtkError) as refused:
        for cell in read_list(listed):
            write_config(cell, tmp_path)
    assert said in str(refused.value)


def test_a_name_stands_for_one_cell(listed):
    section = {"config": "base.yaml", "cells": {"a": {}}}
    listed.write_text(yaml.safe_dump({"S": section, "T": section}))
    with pytest.raises(AsvtkError, match="two cells are named a"):
        read_list(listed)


LISTS = sorted(
    [*RECIPE.glob("conf/ablations/*.yaml"), *RECIPE.parent.glob("cross_corpus/conf/compare/*.yaml")]
)


@pytest.mark.parametrize("path", [path for path in LISTS if path.stem != "cascade_mamba_small"])
def test_the_lists_of_the_recipes_are_sound(path, tmp_path):
    cells = read_list(path)
    for cell in cells:
        write_config(cell, tmp_path)
        load_config(tmp_path / f"{cell.name}.yaml")
    assert len(cells) >= 3
    if path.parent.name == "ablations" and path.stem in ("full", "small"):
        systems = {cell.name.split("_")[0] for cell in cells}
        assert systems == {"S1", "S2", "S3", "S4"} and len(cells) > 25


# ---- the table


def experiment(folder, cell, seed, dev, eval_, seconds):
    """A trained experiment, as far as the table looks at it."""
    place = folder / f"{cell}_seed{seed}"
    (place / "checkpoints").mkdir(parents=True)
    (place / "config.yaml").write_text(f"{BASE}seed: {seed}\n")
    config = load_config(place / "config.yaml")
    detector = detector_for(config.model, config.loss, 1, 60)
    save_detector(place / "checkpoints" / "best.safetensors", detector, {})
    kinds = {"TTS": {"eer_percent": eval_ - 1}, "TTS_VC": {"eer_percent": eval_ + 1}}
    results = {"dev": {"eer_percent": dev}, "eval": {"eer_percent": eval_, "per_kind": kinds}}
    (place / "results.json").write_text(json.dumps(results))
    lines = [json.dumps({"epoch": epoch, "seconds": of}) + "\n" for epoch, of in seconds]
    (place / "train.jsonl").write_text("".join(lines))
    (folder / "done").mkdir(exist_ok=True)
    (folder / "done" / cell).touch()
    return sum(parameter.numel() for parameter in detector.parameters())


def test_the_table_has_means_spreads_and_differences(listed, tmp_path):
    torch.manual_seed(0)
    parameters = experiment(tmp_path, "tiny", 1, 4.0, 10.0, [(1, 9.0), (2, 2.0)])
    experiment(tmp_path, "tiny", 2, 6.0, 12.0, [(1, 1.0), (1, 1.5), (2, 2.5)])  # two lines of one epoch
    experiment(tmp_path, "tiny_lstm", 1, 1.0, 9.5, [(1, 1.0)])
    experiment(tmp_path, "tiny_lstm", 2, 1.0, 9.5, [(1, 3.0)])
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "cascade.log").touch()
    text = ablation_table(read_list(listed), [1, 2], tmp_path)
    assert text.startswith("## Tiny\n\n`base.yaml` with training.epochs = 2\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[4:]]
    header = [
        "Cell",
        "dev EER %",
        "eval EER %",
        "vs. first",
        "TTS EER %",
        "hybrid (TTS+VC) EER %",
        "parameters",
        "s/epoch",
    ]
    assert rows[0] == header
    spread = 2**0.5
    first = ["tiny", f"5.00 ± {spread:.2f}", f"11.00 ± {spread:.2f}", "–", f"10.00 ± {spread:.2f}"]
    assert rows[2] == [*first, f"12.00 ± {spread:.2f}", f"{parameters:,}", "2.5"]
    second = "tiny_lstm: model.mixer = bilstm, loss = wce bonafide_weight=0.5"
    assert rows[3][:4] == [second, "1.00 ± 0.00", "9.50 ± 0.00", "-1.50"] and rows[3][-1] == "2.0"
    assert rows[4] == ["cascade: model = cascade_mamba", f"failed: {tmp_path}/log/cascade.log", *["–"] * 6]


def test_attacks_have_columns_where_the_list_says_so(listed, tmp_path):
    experiment(tmp_path, "tiny", 1, 4.0, 10.0, [(1, 9.0)])
    path = tmp_path / "tiny_seed1" / "results.json"
    results = json.loads(path.read_text())
    results["eval"]["per_attack"] = {"A17": {"eer_percent": 31.5}}
    path.write_text(json.dumps(results))
    listed.write_text(LIST.replace("  cells:", "  attacks: [A17, A18]\n  cells:"))
    text = ablation_table(read_list(listed), [1], tmp_path)
    assert "A17 EER % | A18 EER %" in " ".join(text.split()) and "31.50 | – |" in " ".join(text.split())


def test_systems_are_compared_by_what_they_were_trained_on(listed, tmp_path, capsys):
    for seed, (dev, eval_) in enumerate([(4.0, 20.0), (6.0, 22.0)], 1):
        experiment(tmp_path / "one", "tiny", seed, dev, eval_, [(1, 9.0)])
        experiment(tmp_path / "one", "tiny_lstm", seed, dev + 1, eval_ - 5, [(1, 9.0)])
        experiment(tmp_path / "all", "tiny", seed, dev + 90, eval_, [(1, 9.0)])
        experiment(tmp_path / "all", "tiny_lstm", seed, dev, eval_, [(1, 9.0)])
    words = ["ablations", "systems", listed, tmp_path, "--seeds", "1:2", "--trained", "la=one", "la wild=all"]
    assert main([str(word) for word in words]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    assert page in capsys.readouterr().out
    one, both = page.split("## Trained on ")[1:]
    assert one.startswith("la\n") and both.startswith("la wild\n")
    assert "| cascade | Tiny | not run | – |" in " ".join(one.split())
    row = next(line for line in one.splitlines() if line.startswith("| tiny "))
    assert [cell.strip() for cell in row.split("|")[5:7]] == ["5.00 ± 1.41", "21.00 ± 1.41"]
    # what dev would choose, what it cannot tell from it, and what nobody may choose
    assert "**Dev chooses tiny**: 5.00 % on dev; eval 21.00 %." in one
    assert "Within twice the standard error of the difference: tiny_lstm." in one
    assert "Lowest in hindsight, which is no choice: eval: tiny_lstm 16.00 %." in one
    assert "**Dev chooses tiny_lstm**: 5.00 % on dev; eval 21.00 %." in both and "Within" not in both


def test_what_was_not_run_or_not_finished_has_no_numbers(listed, tmp_path):
    experiment(tmp_path, "tiny", 1, 4.0, 10.0, [(1, 9.0)])
    (tmp_path / "done" / "tiny").unlink()
    assert ablation_table(read_list(listed), [1], tmp_path).count("not run") == 3


def test_an_unknown_cell_is_named_with_those_there_are(listed, tmp_path, capsys):
    assert main(["ablations", "configs", str(listed), str(tmp_path / "out"), "--cells", "tinny"]) == 1
    assert "no cell 'tinny'; there are tiny, tiny_lstm, cascade" in capsys.readouterr().err


# ---- local/ablations.sh

#: a recipe whose stages take no time: a call is noted, cells named in the file `failing` fail
STAND_IN = """#!/usr/bin/env bash
echo "$*" >>calls
while [ $# -gt 0 ]; do declare "${1#--}=$2"; shift 2; done
stop_stage=$(tail -n 1 calls | sed 's/.*--stop-stage \\([0-9]\\).*/\\1/')
if [ "$stop_stage" = 1 ]; then
    for set in train dev eval; do mkdir -p $datadir/$set; echo a >$datadir/$set/utt2md5; done
fi
[ "$stop_stage" = 5 ] || exit 0
touch busy.$tag; ls busy.* | wc -l >>together; sleep ${WORK:-0.2}; rm busy.$tag
! grep -qsx "$tag" failing || { echo "asvtk train: error: $tag fails"; exit 1; }
"""


@pytest.fixture
def stand_in(listed, tmp_path):
    """A recipe's folder with a stand-in for run.sh."""
    recipe = tmp_path / "egs" / "standin"
    recipe.mkdir(parents=True)
    path = (RECIPE / "path.sh").read_text().replace("$(cd ../.. && pwd)", str(RECIPE.parents[1]))
    (recipe / "path.sh").write_text(path)
    (recipe / "cmd.sh").write_text((RECIPE / "cmd.sh").read_text())
    (recipe / "run.sh").write_text(STAND_IN)
    (recipe / "run.sh").chmod(0o755)
    cells = {"a": {}, "b": {"model.blocks": 2}, "c": {"frontend.crop.repeat": False}}
    listed.write_text(yaml.safe_dump({"S": {"config": "base.yaml", "cells": cells}}))
    return recipe


def command(recipe, listed, *words):
    script = RECIPE / "local" / "ablations.sh"
    given = {"list": listed, "seeds": "3:3", "ngpu": 0, "nj": 1, "expdir": recipe / "exp"}
    return [str(word) for word in (script, *(x for k, v in given.items() for x in (f"--{k}", v)), *words)]


def run(recipe, listed, *words, status=0):
    answer = subprocess.run(
        command(recipe, listed, *words), cwd=recipe, capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == status, answer.stdout + answer.stderr
    return answer.stdout


def calls(recipe, stage, noted=None):
    """Tags, or configurations, of the calls that end with a stage; forgets them."""
    lines = (noted or (recipe / "calls").read_text()).splitlines()
    (recipe / "calls").write_text("")
    word = "--tag" if stage == 5 else "--config"
    return [line.split(f"{word} ")[1].split()[0] for line in lines if f"--stop-stage {stage}" in line]


def test_what_is_finished_is_not_done_twice_and_what_failed_is_tried_again(stand_in, listed):
    (stand_in / "failing").write_text("b\n")
    for name in ("a", "b", "c"):
        experiment(stand_in / "exp", name, 3, 4.0, 10.0, [(1, 9.0)])
    said = run(stand_in, listed, status=1)
    assert "b: failed, log is in" in said and "asvtk train: error: b fails" in said
    noted = (stand_in / "calls").read_text()
    assert calls(stand_in, 5) == ["a", "b", "c"]
    assert [Path(path).name for path in calls(stand_in, 2, noted)] == ["a.yaml", "c.yaml"]  # b shares a's
    assert set((stand_in / "together").read_text().split()) == {"1"}  # one at a time, unless told otherwise
    table = (stand_in / "exp" / "RESULTS.md").read_text()
    assert table in said and table.count("10.00") == 2
    assert "| b: model.blocks = 2 | failed: " in " ".join(table.split())

    # A cell is finished while its configuration is what it was.
    (stand_in / "failing").unlink()
    listed.write_text(listed.read_text().replace("crop.repeat: false", "crop.samples: 5000"))
    assert run(stand_in, listed, "--parallel", "2").count("finished already") == 1
    assert sorted(calls(stand_in, 5)) == ["b", "c"]
    assert "2" in (stand_in / "together").read_text().split()
    run(stand_in, listed, "--cells", "a", "--force", "true")
    assert calls(stand_in, 5) == ["a"]


def test_ctrl_c_ends_all_that_was_started(stand_in, listed):
    words = command(stand_in, listed, "--parallel", "2")
    environment = {**os.environ, "WORK": "1234.5"}
    process = subprocess.Popen(
        words, cwd=stand_in, stdout=subprocess.DEVNULL, start_new_session=True, env=environment
    )
    deadline = time.monotonic() + 60
    while len(list(stand_in.glob("busy.*"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "sleep 1234.5" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("words", [["--parallel", "0"], ["--seeds", "x"], ["more"]])
def test_misuse_is_a_usage_error(stand_in, listed, words):
    run(stand_in, listed, *words, status=2)
    assert not (stand_in / "calls").exists()
