"""Runs that meet, and runs that are killed: nothing is computed twice, and nothing changes by a byte.

One pair of runs and one kill are usual; ASVTK_PAIRS=20 ASVTK_KILLS=30 is the long form, of an hour.
"""

import json
import os
import random
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from tiny_recipe import Recipe, cached, kill

PAIRS, KILLS = (int(os.environ.get(f"ASVTK_{name}", 1)) for name in ("PAIRS", "KILLS"))
STAGES = range(1, 6)
UTTERANCES = 2 * (12 + 8 + 10)
EPOCHS = 3


@pytest.fixture(scope="module")
def durations(finished):
    """Seconds of each stage of an undisturbed run, by what it said."""
    said = re.findall(r"^(\S+) (?:stage (\d)|Successfully finished)", finished.said, re.MULTILINE)
    times = [datetime.fromisoformat(when).timestamp() for when, _ in said]
    return {
        int(stage): 0.5 + after - before
        for (_, stage), before, after in zip(said, times, times[1:], strict=False)
    }


def content(recipe) -> dict:
    """All that a run has made, but for dates, durations, and how features lie in their arks."""
    data, dump, exp = (Path(recipe.folders[name]) for name in ("datadir", "dumpdir", "expdir"))
    exp = exp / "tiny"
    found = {f"features of {name}": values for name, values in cached(dump).items()}
    files = [*data.glob("*/*"), *exp.glob("scores/*"), *exp.glob("checkpoints/*")]
    files += [exp / name for name in ("config.yaml", "inputs.json", ".train.done", "calibration.json")]
    for path in files:
        if path.suffix not in (".lock", ".log") and path.exists():
            found["/".join(path.parts[-2:])] = path.read_bytes()
    if (exp / "results.json").exists():
        records = [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]
        found["train.jsonl"] = [{name: record[name] for name in _CERTAIN} for record in records]
        found["results.json"] = (exp / "results.json").read_text().replace(str(recipe.folder), "")
    return found


_CERTAIN = ("epoch", "loss", "dev_loss", "dev_eer_percent", "best_epoch")


def differing(ours: dict, theirs: dict) -> list:
    return sorted(str(name) for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def logged(recipe, pattern: str, words: str) -> list:
    return [
        found
        for path in sorted(recipe.folder.glob(pattern))
        for found in re.findall(words, path.read_text(), re.MULTILINE)
    ]


def assert_nothing_was_done_twice(recipe):
    """By the logs of all jobs, those that were put aside included."""
    counts = logged(recipe, "dump/log/extract_*.log*", r"features of (\d+) utterances computed")
    assert sum(map(int, counts)) == UTTERANCES
    epochs = logged(recipe, "exp/tiny/log/train.log*", r"^epoch +(\d+)")
    assert epochs == [str(n) for n in range(1, EPOCHS + 1)]
    shards = logged(recipe, "exp/tiny/log/score*.log*", r"/(\w+): shard (\d) of 2: \d+ trials")
    assert sorted(shards) == [("dev", "1"), ("dev", "2"), ("eval", "1"), ("eval", "2")]
    assert not [*recipe.folder.rglob("*.log.1")]  # no log was put aside while its job wrote


def test_two_runs_on_one_dump_and_one_experiment(tmp_path, corpus, finished, durations):
    expected = content(finished)
    offsets = random.Random(os.getpid())
    for number in range(PAIRS):
        recipe = Recipe(tmp_path / str(number), corpus)
        first = recipe.start(score_nj=2, capture=True)
        time.sleep(offset := offsets.uniform(0, sum(durations.values())) * offsets.random())
        second = recipe.start(score_nj=2, capture=True)
        said = [process.communicate(timeout=600)[0] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), (offset, said)
        assert differing(content(recipe), expected) == [], offset
        assert_nothing_was_done_twice(recipe)
        waited = re.findall(r"\.lock: waiting for process \d+ on \S+: \./run.sh --corpus", said[0] + said[1])
        print(f"second run after {offset:.1f} s; {len(waited)} times one waited for the other")


def test_killed_in_any_stage_the_same_command_ends_with_the_same_bytes(tmp_path, corpus, finished, durations):
    expected = content(finished)
    moments = random.Random(os.getpid())
    begin = moments.randrange(len(STAGES))
    for number in range(KILLS):
        stage = STAGES[(begin + number) % len(STAGES)]
        delay = moments.uniform(0, durations[stage])
        recipe = Recipe(tmp_path / str(number), corpus)
        options = {"score_nj": 2}
        if KILLS == 1 and stage <= 2:  # the short form makes do with half of a run
            options["stop_stage"] = 2
        elif KILLS == 1:
            options["stage"] = 3
            recipe.folders |= {name: finished.folders[name] for name in ("datadir", "dumpdir")}
        process = recipe.start(capture=True, **options)
        for line in process.stdout:
            if f" stage {stage}: " in line:
                break
        time.sleep(delay)
        survived = process.poll() is None
        kill(process)
        process.stdout.close()
        answer = recipe.run(**options)
        assert answer.returncode == 0, (stage, delay, answer.stderr)
        made = content(recipe)
        complete = made.keys() == expected.keys() or "stop_stage" in options
        assert complete and differing(made, {name: expected[name] for name in made}) == [], (stage, delay)
        print(f"killed {delay:.1f} s into stage {stage}{'' if survived else ', which was over'}")
