"""The generator of an utterance: a function of seed, utterance and copy."""

from asvtk.io.randomness import utterance_generator

GOLDEN = 3574392193930415116


def test_a_generator_depends_on_seed_utterance_and_copy_and_on_nothing_else():
    def first(*key):
        return utterance_generator(*key).integers(2**63)

    keys = [
        (s, u, c)
        for s in (0, 1, 11)
        for u in ("LA_T_1000137", "LA_T_1000138", "1", "1 1")
        for c in (0, 1, 11)
    ]
    assert len({first(*key) for key in keys}) == len(keys)
    assert [first(*key) for key in keys] == [first(*key) for key in reversed(keys)][::-1]
    # as in every other process, on every other day
    assert first(1, "LA_T_1000137", 2) == GOLDEN
