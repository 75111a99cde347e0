#!/usr/bin/env python3
"""Time random reads of our arks against kaldiio: tools/bench/ark.py [--matrices 40] [--layers 25]

Writes one ark per layer and kind (FM, CM2, CM) to a scratch folder, 1.4 GB as the defaults are, and reads
them in random order, from the page cache, with 1 thread, 8 threads and 4 forked workers:

    matrix     single matrices: ``reader.read(...)`` against ``kaldiio.load_scp(scp)[key]``
    utterance  all layers of an utterance as one array, which is what training asks for:
               ``reader.stack(...)`` against ``numpy.stack`` of kaldiio's

The best of several passes counts. In the timed passes the diagonal of every matrix is kept, and compared
afterwards with what was written; in one more pass of each, every number of every array is.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import figures
import kaldiio
import numpy as np

from asvtk.io.ark import ArkWriter, MatrixReader, encode_matrix, entry_size, read_scp

TOLERANCE = {"FM": 0, "CM2": 0.6 / 65535, "CM": 0.01}  # by kind, of the range
POOLS = {
    "1 thread": (1, ThreadPoolExecutor),
    "8 threads": (8, ThreadPoolExecutor),
    "4 forks": (4, lambda count: ProcessPoolExecutor(count, multiprocessing.get_context("fork"))),
}
PASSES = 3
SHARED = {}  # the corpus and the readers of both sides: forked workers find them here


class Corpus:
    """Layers of matrices, each a rotation of one of 8: all are known without being kept."""

    def __init__(self, folder: Path, layers: int, matrices: int, shape: tuple[int, int]):
        self.folder, self.layers, self.matrices = folder, range(layers), range(matrices)
        self.sources = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
        self.range = max(np.ptp(source) for source in self.sources)
        self.diagonals = {}

    def matrix(self, layer: int, number: int) -> np.ndarray:
        which = layer * len(self.matrices) + number
        return np.roll(self.sources[which % 8], which // 8, axis=0)

    def scp(self, kind: str, layer: int) -> Path:
        return self.folder / f"{kind}.{layer}.scp"

    def write(self, kind: str) -> None:
        foretold = 0
        for layer in self.layers:
            writer = ArkWriter(self.scp(kind, layer).with_suffix(".ark"), self.scp(kind, layer))
            for number in self.matrices:
                matrix = self.matrix(layer, number)
                self.diagonals[layer, number] = matrix.diagonal().copy()
                writer.write_encoded(str(number), encode_matrix(matrix, kind))
                foretold += entry_size(kind, *matrix.shape, str(number))
            writer.close()
        found = sum(path.stat().st_size for path in self.folder.glob(f"{kind}.*.ark"))
        assert found == foretold, f"{found} bytes on disk, {foretold} foretold"


class Ours:
    def __init__(self, scps):
        self.scps, self.reader = [read_scp(scp) for scp in scps], MatrixReader()

    def load(self, layers: list[int], key: str) -> np.ndarray:
        if len(layers) == 1:
            return self.reader.read(*self.scps[layers[0]][key])[None]
        return self.reader.stack([self.scps[layer][key] for layer in layers])


class Theirs:
    def __init__(self, scps):
        self.scps = [kaldiio.load_scp(str(scp)) for scp in scps]

    def load(self, layers: list[int], key: str) -> np.ndarray:
        if len(layers) == 1:
            return self.scps[layers[0]][key][None]
        return np.stack([self.scps[layer][key] for layer in layers])


def read_diagonals(side: str, requests) -> list[np.ndarray]:
    """Read what is asked for, (layers, number); all that is kept of an array is its diagonals."""
    load = SHARED[side].load
    return [load(layers, str(number)).diagonal(axis1=1, axis2=2).copy() for layers, number in requests]


def read_everything(side: str, requests) -> float:
    """Largest error of any number of any array, as a part of the range."""
    worst, corpus = 0.0, SHARED["corpus"]
    for layers, number in requests:
        for layer, found in zip(layers, SHARED[side].load(layers, str(number)), strict=True):
            worst = max(worst, np.abs(found - corpus.matrix(layer, number)).max() / corpus.range)
    return worst


def check(error: float, kind: str, side: str) -> None:
    if not error <= TOLERANCE[kind]:
        raise SystemExit(f"{side} read a wrong {kind} matrix: off by {error:.2g} of the range")


def bench(corpus: Corpus, kind: str, requests: list, workers: int, new_pool) -> dict[str, float]:
    """Matrices per second of both sides."""
    best = {"ours": 0.0, "kaldiio": 0.0}
    matrices = sum(len(layers) for layers, _ in requests)
    with new_pool(workers) as pool:
        list(pool.map(read_diagonals, ["ours"] * workers, [requests[:1]] * workers))  # workers are born
        for _ in range(PASSES):
            random.shuffle(requests)
            parts = [requests[start::workers] for start in range(workers)]
            for side in best:
                started = time.perf_counter()
                found = list(pool.map(read_diagonals, [side] * workers, parts))
                best[side] = max(best[side], matrices / (time.perf_counter() - started))
                for part, arrays in zip(parts, found, strict=True):
                    for (layers, number), diagonals in zip(part, arrays, strict=True):
                        written = [corpus.diagonals[layer, number] for layer in layers]
                        check(np.abs(diagonals - written).max() / corpus.range, kind, side)
        for side in best:
            for error in pool.map(read_everything, [side] * workers, parts):
                check(error, kind, side)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--matrices", type=int, default=40, help="per layer")
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--shape", type=int, nargs=2, default=(200, 1024), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--folder", help="where the scratch folder is made; default: as tempfile does")
    figures.add_option(parser)
    args = parser.parse_args()
    random.seed(0)
    print(f"{'kind':5}{'what':11}{'workers':11}{'ours':>9}{'kaldiio':>11}{'ratio':>7}   matrices per second")
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        corpus = SHARED["corpus"] = Corpus(Path(scratch), args.layers, args.matrices, tuple(args.shape))
        requests = {
            "matrix": [([layer], number) for layer in corpus.layers for number in corpus.matrices],
            "utterance": [(list(corpus.layers), number) for number in corpus.matrices],
        }
        for kind in TOLERANCE:
            corpus.write(kind)
            scps = [corpus.scp(kind, layer) for layer in corpus.layers]
            SHARED.update(ours=Ours(scps), kaldiio=Theirs(scps))
            for what, name in ((what, name) for what in requests for name in POOLS):
                rates = bench(corpus, kind, requests[what], *POOLS[name])
                ours, theirs = rates["ours"], rates["kaldiio"]
                if what == "utterance":
                    args.figures.add(f"{kind}, {name}", ours, "matrices/s", theirs)
                print(f"{kind:5}{what:11}{name:11}{ours:9.0f}{theirs:11.0f}{ours / theirs:7.1f}", flush=True)
    print("every array that was read holds what was written")


if __name__ == "__main__":
    main()
