"""Arrays of strings as numbers: comparing a hundred thousand strings one by one is what takes time."""

import numpy as np

__all__ = ["factorize", "has_repeats"]


def factorize(strings: np.ndarray):
    """Number the different strings of an array.

    Args:
        strings: (n,), few different ones.

    Returns:
        names, sorted: list of str; and codes, int (n,), with ``names[codes[i]] == strings[i]``.
    """
    sums = _checksums(strings)
    ascending = np.sort(sums)
    different = ascending[np.append(True, ascending[1:] != ascending[:-1])[: sums.size]]
    codes = np.searchsorted(different, sums)
    example = np.empty(different.size, np.intp)
    example[codes] = np.arange(sums.size)
    examples = strings[example]
    if not (examples[codes] == strings).all():  # two strings of one sum: as good as never
        examples, codes = np.unique(strings, return_inverse=True)
    names = examples.tolist()
    rank = np.empty(len(names), np.intp)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return sorted(names), rank[codes]


def has_repeats(strings: np.ndarray) -> bool:
    """Does any string of an array (n,) stand there twice?"""
    sums = np.sort(_checksums(strings))
    return bool((sums[1:] == sums[:-1]).any()) and len(set(strings.tolist())) < strings.size


def _checksums(strings: np.ndarray) -> np.ndarray:
    """uint64 (n,); equal strings have equal sums."""
    if strings.size == 0:
        return np.empty(0, np.uint64)
    letters = np.ascontiguousarray(strings).view(np.uint32).reshape(strings.size, -1)
    # Powers of an odd number (the golden ratio in 64 bits) modulo 2^64.
    weights = np.multiply.accumulate(np.full(letters.shape[1], 0x9E3779B97F4A7C15, np.uint64))
    return letters.astype(np.uint64) @ weights
