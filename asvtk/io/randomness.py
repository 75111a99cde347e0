"""Random generator of an utterance: the same numbers in every process and order."""

import hashlib

import numpy as np

__all__ = ["utterance_generator"]


def utterance_generator(seed: int, utterance: str, copy: int) -> np.random.Generator:
    """All the randomness of one copy of one utterance, whichever worker makes it, and in whatever order.

    Args:
        seed: of the experiment.
        utterance: its id.
        copy: which of its augmented copies, or which epoch.
    """
    digest = hashlib.blake2b(f"{seed} {copy} {utterance}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
