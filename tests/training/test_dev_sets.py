"""Evaluation of several sets as one: each by itself, then the mean or the worst of them."""

from types import SimpleNamespace

import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training import evaluation
from asvtk.training.evaluation import NonFiniteScores, evaluate

#: set -> its scores of bona fide utterances, and of spoofs
SCORES = {"la": ([3.0, 2.0, -1.0, 1.0], [0.0, -2.0, -3.0, -4.0]), "wild": ([1.0, 2.0], [1.5, 1.7, 0.0, -1.0])}
EERS = {"la": 0.25, "wild": 0.5}


class Dataset:
    """Utterances of two sets in turn, as ids of two corpora may be sorted."""

    def __init__(self, scores):
        rows = {
            name: [(score, True) for score in of[0]] + [(score, False) for score in of[1]]
            for name, of in scores.items()
        }
        places = sorted((number, name) for name, of in rows.items() for number in range(len(of)))
        self.scores = torch.tensor([rows[name][number][0] for number, name in places])
        self.bonafide = torch.tensor([rows[name][number][1] for number, name in places])
        self.utterances = [f"{name}{number}" for number, name in places]
        self.parts = {name: [i for i, (_, of) in enumerate(places) if of == name] for name in rows}

    def __len__(self):
        return len(self.utterances)


class Loss:
    """The score is the embedding; the loss is its mean, plus 1."""

    def score(self, embedding):
        return embedding

    def __call__(self, embedding, bonafide):
        return embedding.mean() + 1


@pytest.fixture
def run(monkeypatch):
    seen = []

    def evaluated(scores, batch_size=3, select="mean"):
        dataset = Dataset(scores)

        def loader(batches):
            seen[:] = batches
            for batch in batches:
                yield SimpleNamespace(x=dataset.scores[batch]), dataset.bonafide[batch]

        detector = SimpleNamespace(
            eval=lambda: None,
            model=torch.nn.Identity(),
            embed=lambda inputs: SimpleNamespace(embedding=inputs.x),
            loss=Loss(),
        )
        return evaluate(detector, dataset, loader, batch_size, select), dataset

    evaluated.batches = seen
    monkeypatch.setattr(evaluation.distributed, "is_writer", lambda: False)  # routing is of models of experts
    return evaluated


def test_the_mean_and_the_worst_of_several_sets(run):
    mean, dataset = run(SCORES)
    of_set = {name: dataset.scores[numbers].mean().item() + 1 for name, numbers in dataset.parts.items()}
    assert mean.sets == EERS and mean.eer == 0.375
    assert mean.loss == pytest.approx(sum(of_set.values()) / 2)
    assert run(SCORES, select="worst")[0].eer == 0.5
    assert run(dict(reversed(SCORES.items())))[0].rank == mean.rank
    assert run(SCORES, batch_size=100)[0].rank == pytest.approx(mean.rank)


def test_no_batch_has_utterances_of_two_sets(run):
    _, dataset = run(SCORES)
    assert [len(batch) for batch in run.batches] == [3, 3, 2, 3, 3]
    for batch in run.batches:
        assert len({dataset.utterances[u].rstrip("0123456789") for u in batch}) == 1


def test_one_set_is_what_it_was(run):
    for select in ("mean", "worst"):
        one, dataset = run({"la": SCORES["la"]}, select=select)
        assert one.eer == 0.25 and one.sets == {} and one.loss == pytest.approx(0.5)
        assert run.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_scores_that_are_not_finite_are_named_in_all_sets(run):
    scores = {name: ([float("nan"), *of[0]], of[1]) for name, of in SCORES.items()}
    with pytest.raises(NonFiniteScores, match="not finite for la0, wild0"):
        run(scores)
    assert issubclass(NonFiniteScores, AsvtkError)


def test_several_processes_share_every_set(run, monkeypatch):
    alone, _ = run(SCORES)
    sent = []
    monkeypatch.setattr(evaluation.distributed, "size", lambda: 2)
    monkeypatch.setattr(evaluation.distributed, "rank", lambda: 1)
    monkeypatch.setattr(evaluation.distributed, "gather_objects", lambda own: sent.append(own) or [own, own])
    run(SCORES)
    seen = [u for batch in run.batches for u in batch]
    monkeypatch.setattr(evaluation.distributed, "rank", lambda: 0)
    monkeypatch.setattr(evaluation.distributed, "gather_objects", lambda own: [own, sent.pop(0)])
    together, dataset = run(SCORES)
    seen += [u for batch in run.batches for u in batch]
    assert sorted(seen) == list(range(len(dataset))) and not sent
    assert together.sets == alone.sets and together.loss == pytest.approx(alone.loss)
