"""Shares of corpora, labels and attacks: what an epoch draws, and what is refused."""

from collections import Counter

import numpy as np
import pytest
import torch

from asvtk.io.errors import AsvtkError
from asvtk.training.sampler import sample_epoch
from asvtk.training.sampling import Sampling, expected_counts, stratify

#: corpus, label, attack -> how many utterances
CORPORA = {
    ("la", "bonafide", "-"): 5,
    ("la", "spoof", "A01"): 30,
    ("la", "spoof", "A02"): 7,
    ("wild", "bonafide", "-"): 20,
    ("wild", "spoof", "W"): 3,
}
ROWS = [key for key, count in CORPORA.items() for _ in range(count)]
COLUMNS = dict(zip(("corpus", "label", "attack"), map(list, zip(*ROWS, strict=True)), strict=True))
BONAFIDE = torch.tensor([label == "bonafide" for label in COLUMNS["label"]])


def strata_of(**levels):
    return stratify(Sampling.build(levels, "training.sampling"), COLUMNS.get)


def epoch(strata, seed=1):
    return sample_epoch(BONAFIDE, seed, False, strata=strata)


def drawn(*names, **levels):
    """How many utterances of an epoch have which values."""
    return dict(Counter(tuple(COLUMNS[name][u] for name in names) for u in epoch(strata_of(**levels))))


def test_shares_are_nested_in_their_order():
    # 65 utterances: 2/3 are 43.3, of which half are 21.5; the first one is rounded up.
    assert drawn("corpus", "label", "attack", corpus={"la": 2, "wild": 1}, label="equal", attack="equal") == {
        ("la", "bonafide", "-"): 22,
        ("la", "spoof", "A01"): 11,
        ("la", "spoof", "A02"): 10,
        ("wild", "bonafide", "-"): 11,
        ("wild", "spoof", "W"): 11,
    }
    assert drawn("corpus", label="equal", corpus={"la": 4, "wild": 1}) == {("la",): 52, ("wild",): 13}


def test_null_is_as_many_as_there_are():
    assert drawn("corpus", corpus=None) == {("la",): 42, ("wild",): 23}
    found = drawn("label", "attack", label=None, attack="equal")
    assert found == {("bonafide", "-"): 25, ("spoof", "A01"): 14, ("spoof", "A02"): 13, ("spoof", "W"): 13}
    # Of what is left out nothing counts: 25 bona fide utterances and 10 spoofs.
    found = drawn("label", "attack", label=None, attack={"A01": 0, "A02": 1, "W": 1})
    assert found == {("bonafide", "-"): 25, ("spoof", "A02"): 5, ("spoof", "W"): 5}


def test_weight_0_leaves_out_and_makes_the_epoch_as_much_shorter():
    found = drawn("corpus", "label", corpus={"la": 0, "wild": 0.1}, label={"bonafide": 0.1, "spoof": 0.2})
    assert found == {("wild", "bonafide"): 8, ("wild", "spoof"): 15}
    # W needs no weight where wild is left out.
    found = drawn("attack", corpus={"la": 1, "wild": 0}, label="equal", attack={"A01": 1, "A02": 2})
    assert found == {("-",): 21, ("A01",): 7, ("A02",): 14}


def test_utterances_of_a_stratum_are_drawn_equally_often_or_once_more():
    strata = strata_of(corpus="equal", label="equal")
    counts = np.bincount(epoch(strata), minlength=len(ROWS))
    for members, size in zip(
        np.split(strata.members, strata.lengths.cumsum()[:-1]), strata.sizes, strict=True
    ):
        assert counts[members].sum() == size and np.ptp(counts[members]) <= 1
    assert counts.sum() == 65 and counts[:5].min() >= 3 and counts[5:42].max() == 1
    rare = [set(epoch(strata, seed)) & set(range(5, 42)) for seed in (1, 2)]  # other ones each time
    assert len(rare[0]) == len(rare[1]) == 16 and rare[0] != rare[1]


def test_an_epoch_is_a_function_of_its_seed_and_mixed():
    strata = strata_of(corpus={"la": 1, "wild": 1})
    again = strata_of(corpus={"wild": 1.0, "la": 1.0})  # weights have no order
    assert epoch(strata, 5) == epoch(again, 5) != epoch(strata, 6)
    assert 10 < sum(u < 42 for u in epoch(strata)[:32]) < 22


@pytest.mark.parametrize("total", range(1, 40))
def test_rounded_shares_sum_to_the_whole(total):
    rows = [str(number % 7) for number in range(total)]
    columns = {"speaker": rows, "label": ["bonafide", *["spoof"] * (total - 1)]}
    if total == 1:
        with pytest.raises(AsvtkError, match="leaves nothing that is spoof"):
            stratify(Sampling.build({"speaker": "equal"}, ""), columns.get)
        return
    weights = {value: (int(value) + 1) / 10 for value in set(rows)}
    for shares in ("equal", None, weights):
        strata = stratify(Sampling.build({"speaker": shares}, ""), columns.get)
        assert strata.sizes.sum() == total
        if shares is not None:
            whole = sum(weights.values()) if shares == weights else len(weights)
            for value, size in zip(sorted(weights), drawn_sizes(strata, rows, weights), strict=True):
                share = total * (weights[value] if shares == weights else 1) / whole
                assert abs(size - share) < 1
        else:
            assert strata.sizes.tolist() == strata.lengths.tolist()


def drawn_sizes(strata, rows, values):
    """Of each value, in order; 0 where a share is less than an utterance."""
    firsts = np.cumsum(strata.lengths) - strata.lengths
    of = {rows[strata.members[first]]: size for first, size in zip(firsts, strata.sizes, strict=True)}
    return [of.get(value, 0) for value in sorted(values)]


def test_expected_counts_are_those_of_the_mean_epoch():
    strata = strata_of(corpus={"la": 2, "wild": 1})
    counts = expected_counts(strata, COLUMNS["corpus"], COLUMNS["label"])
    assert counts[("la", "bonafide")] == pytest.approx(43 * 5 / 42)
    assert sum(counts.values()) == pytest.approx(65)
    exact = expected_counts(strata_of(corpus="equal", label="equal"), COLUMNS["label"], COLUMNS["corpus"])
    assert exact == pytest.approx(
        {("bonafide", "la"): 17, ("spoof", "la"): 16, ("bonafide", "wild"): 16, ("spoof", "wild"): 16}
    )


@pytest.mark.parametrize(
    "levels, message",
    [
        ({"corpus": {"la": 1, "wild": 1, "la21": 1}}, "corpus: no utterance has la21; there are la, wild"),
        ({"corpus": {"la": 1}}, "corpus: no weight for wild; give each value one, 0 leaves it out"),
        ({"label": None, "attack": {"A01": 1}}, "attack: no weight for A02, W; give"),
        ({"attack": {"A01": 1, "A02": 1, "W": 1}}, "attack: no weight for -; give"),
        (
            {"corpus": "equal", "label": None, "attack": {"A01": 1, "A02": 1, "W": 0}},
            "attack: the weights of all values of corpus wild, label spoof are 0; to leave that out",
        ),
        ({"label": {"bonafide": 0, "spoof": 1}}, "sampling: leaves nothing that is bonafide; training needs"),
        ({"corpus": {"la": 1, "wild": 1.0000000000000002e-300}}, "have too many digits; write them as small"),
    ],
)
def test_weights_that_do_not_fit_the_set(levels, message):
    with pytest.raises(AsvtkError) as refusal:
        strata_of(**levels)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ("equal", "x: 'equal' does not fit; expected levels and their shares"),
        ({}, "x: {} does not fit; expected levels"),
        (
            {"../label": "equal"},
            "x: '../label' is no level; expected corpus, label, attack, speaker or the NAME",
        ),
        ({1: "equal"}, "x: 1 is no level"),
        ({"corpus": "equall"}, "x.corpus: 'equall' does not fit; expected equal, a weight for each value"),
        ({"corpus": {}}, "x.corpus: {} does not fit"),
        ({"corpus": {"a": 0, "b": 0}}, "x.corpus: all weights are 0"),
        ({"corpus": {"a": -1}}, "x.corpus.a: -1 does not fit; expected a weight, 0 or more"),
        ({"corpus": {"a": True}}, "x.corpus.a: True does not fit"),
        ({"corpus": {"a": float("nan")}}, "x.corpus.a: nan does not fit"),
        ({"corpus": {"a": "much"}}, "x.corpus.a: 'much' does not fit"),
        (
            {"speaker": {71: 1}},
            "x.speaker: YAML takes 71 for a number or a word of its own; write it in quotes",
        ),
    ],
)
def test_shares_that_are_none(content, message):
    with pytest.raises(AsvtkError) as refusal:
        Sampling.build(content, "x")
    assert str(refusal.value).startswith(message)


def test_weights_may_be_written_as_yaml_reads_them():
    assert Sampling.build({"corpus": {"a": "1e-3", "b": 1}}, "").describe() == {
        "corpus": {"a": 0.001, "b": 1}
    }
