"""Parts of a score file, and two runs that join them."""

import pytest

from asvtk.io.errors import AsvtkError
from asvtk.training.scoring import ScoreShards


@pytest.fixture
def scores(tmp_path):
    scores = ScoreShards(tmp_path / "scores" / "eval.txt", {"checkpoint": "a", "data": "b"})
    for job in (1, 2):
        with scores.lock(job, 2):
            scores.shard(job, 2).parent.mkdir(parents=True, exist_ok=True)
            scores.shard(job, 2).write_text(f"u{job} - bonafide 0.{job}\n")
    return scores


def test_shards_are_joined_in_their_order(scores):
    assert not scores.is_complete() and scores.join(2) == 2 and scores.is_complete()
    assert scores.path.read_text() == "u1 - bonafide 0.1\nu2 - bonafide 0.2\n"
    assert not [path for path in scores.path.parent.iterdir() if path.name.endswith(".parts")]


def test_missing_shards_are_named_and_the_others_stay(scores):
    scores.shard(2, 2).unlink()
    with pytest.raises(AsvtkError, match="1 of 2 shards are missing: 2.of.2.txt"):
        scores.join(2)
    assert scores.shard(1, 2).exists() and not scores.path.exists()


def test_fault_18_a_run_that_joins_after_another_one_finds_it_done(scores):
    """Its shards are gone by then, and that is no fault."""
    scores.join(2)
    before = scores.path.stat()
    assert scores.join(2) == 2 and scores.path.stat() == before
