"""local/tune.sh by the real recipe, killed in between."""

import subprocess

import pytest
from tiny_corpus import write_tiny_corpus
from tiny_recipe import RECIPE, kill, wait_for

from asvtk.training.config import load_config

pytest.importorskip("optuna")
BASE = """
frontend: {name: lfcc, crop: {samples: 6000}}
model: {name: plain_mamba, stack: 4, d_model: 16, blocks: 1, d_state: 4, d_embedding: 8}
loss: {name: oc_softmax}
training: {epochs: 1, warmup_epochs: 0, batch_size: 4, lr_end: 5.0e-5}
"""
SPACE = """
training.lr: {choices: [1.0e-4, 1.0e-3]}
model.d_state: {choices: [4, 8]}
"""


@pytest.fixture
def search(tmp_path):
    class Search:
        folder, exp = tmp_path, tmp_path / "expdir"

        def command(self, **options):
            given = {
                "corpus": tmp_path / "LA",
                "config": tmp_path / "base.yaml",
                "space": tmp_path / "space.yaml",
            }
            given |= {name: tmp_path / name for name in ("datadir", "dumpdir", "expdir")}
            given |= {"seeds": 3, "ngpu": 0, "nj": 1, "trials": 3, "parallel": 2} | options
            return ["local/tune.sh", *(str(word) for k, v in given.items() for word in (f"--{k}", v))]

        def run(self, status=0, **options):
            answer = subprocess.run(
                self.command(**options), cwd=RECIPE, capture_output=True, text=True, timeout=600
            )
            assert answer.returncode == status, answer.stdout + answer.stderr
            return answer.stdout + answer.stderr

        def start(self, **options):
            return subprocess.Popen(
                self.command(**options), cwd=RECIPE, start_new_session=True, stdout=subprocess.DEVNULL
            )

    write_tiny_corpus(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "space.yaml").write_text(SPACE)
    return Search()


def test_a_search_killed_goes_on_and_ends_with_a_configuration(search):
    process = search.start()
    try:
        for sign in (
            "dumpdir/*/dev",
            "expdir/study.db",
            "expdir/trial_00?_seed3/checkpoints/last.safetensors",
        ):
            wait_for(search, process, sign)
    finally:
        kill(process)
    said = search.run()
    assert "taken up again: trial_000" in said and "stage 0" in said
    page = (search.exp / "RESULTS.md").read_text()
    assert "3 trials looked at it" in page and "Without a result" not in page
    assert sorted(path.name for path in search.exp.glob("trial_*")) == [
        f"trial_00{n}_seed3" for n in range(3)
    ]
    # dev alone is looked at
    assert {path.stem for path in search.exp.glob("*/scores/*.txt")} == {"dev"}
    assert not list(search.folder.glob("dumpdir/*/eval")) and (search.folder / "datadir" / "eval").exists()
    best = load_config(search.exp / "best.yaml")
    first = [line for line in page.splitlines() if line.startswith("| ")][2]
    assert f" {best.training.lr:.4g} |" in first and best.training.epochs == 1
    assert "<svg" in (search.exp / "tune.html").read_text()
