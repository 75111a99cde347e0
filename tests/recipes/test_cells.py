"""Cells of a list, trained by the real recipe."""

import json
import subprocess
from pathlib import Path

from tiny_corpus import write_tiny_corpus

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
  cells:
    tiny: {}
    tiny_lstm: {model.mixer: bilstm}
    cascade: {model: {name: cascade_mamba}}
"""


def test_two_cells_of_the_real_recipe_of_which_one_fails(tmp_path):
    listed = tmp_path / "conf" / "ablations" / "tiny.yaml"
    listed.parent.mkdir(parents=True)
    listed.write_text(LIST)
    (tmp_path / "conf" / "base.yaml").write_text(BASE)
    words = ["local/ablations.sh", "--list", listed, "--corpus", write_tiny_corpus(tmp_path), "--seeds", 3]
    words += ["--ngpu", 0, "--parallel", 2, "--cells", "tiny cascade"]
    for name in ("datadir", "dumpdir", "expdir"):
        words += [f"--{name}", tmp_path / name]
    answer = subprocess.run(
        [str(word) for word in words], cwd=RECIPE, capture_output=True, text=True, timeout=300
    )
    said, exp = answer.stdout, tmp_path / "expdir"
    assert answer.returncode == 1, said + answer.stderr
    assert "tiny: finished after" in said
    assert "cascade: failed" in said and "expected exactly 3 layers" in said
    table = (exp / "RESULTS.md").read_text()
    assert table in said and f"failed: {exp}/log/cascade.log" in table and "tiny_lstm" not in table
    results = json.loads((exp / "tiny_seed3" / "results.json").read_text())
    cells = f"| {results['dev']['eer_percent']:.2f} | {results['eval']['eer_percent']:.2f} |"
    assert cells in " ".join(table.split())
