#!/usr/bin/env python3
"""Utterances per second and core of RawBoost's algorithms: tools/bench/rawboost.py [--runs N] [--samples N]

Beside asvtk, the definitions transcribed plainly: one FIR design, one direct convolution and one power at
a time, in double precision, as is usual. The two take turns on one core, so that a busy machine is
equally busy for both; the time is CPU time. Never run as a test.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import statistics
import time

import figures
import numpy as np
from scipy import signal

from asvtk.augment.rawboost import RawBoostConfig, rawboost

RATE = 16000


def plain_filter(x, rng, least=0.0, most=0.0):
    cascade = np.ones(1)
    for _ in range(5):
        centre, width, taps = rng.uniform(20, 8000), rng.uniform(100, 1000), int(rng.uniform(10, 100))
        edges = [max(centre - width / 2, 0.001), min(centre + width / 2, RATE / 2 - 0.001)]
        cascade = np.convolve(signal.firwin(taps + 1 - taps % 2, edges, fs=RATE), cascade)
    _, response = signal.freqz(cascade)
    cascade *= 10 ** ((least + (most - least) * rng.random()) / 20) / np.abs(response).max()
    centre = len(cascade) // 2
    return signal.lfilter(cascade, 1, np.pad(x, (0, centre)))[centre:]


def plain_normalise(x):
    peak = np.abs(x).max()
    return x / peak if peak > 1 else x


def plain_convolutive(x, rng):
    y = plain_filter(x, rng)
    for power in range(2, 6):
        y = y + plain_filter(np.power(x, power), rng, -5.0, -20.0)
    return plain_normalise(y - np.mean(y))


def plain_impulsive(x, rng):
    chosen = rng.permutation(len(x))[: int(len(x) * rng.uniform(0, 10) / 100)]
    factors = (2 * rng.random(len(chosen)) - 1) * (2 * rng.random(len(chosen)) - 1)
    y = x.copy()
    y[chosen] += 2 * x[chosen] * factors
    return plain_normalise(y)


def plain_stationary(x, rng):
    noise = plain_filter(rng.normal(0, 1, len(x)), rng)
    noise /= np.abs(noise).max()
    return x + noise / np.linalg.norm(noise) * np.linalg.norm(x) / 10 ** (rng.uniform(10, 40) / 20)


PLAIN = {"C": plain_convolutive, "I": plain_impulsive, "S": plain_stationary}
SERIES = {1: "C", 2: "I", 3: "S", 4: "CIS", 5: "CI", 6: "CS", 7: "IS"}


def plain(algorithm, x, rng):
    x = x.astype(np.float64)
    if algorithm == 8:
        return plain_normalise(plain_convolutive(x, rng) + plain_impulsive(x, rng)).astype(np.float32)
    for step in SERIES[algorithm]:
        x = PLAIN[step](x, rng)
    return x.astype(np.float32)


def seconds(function, *args):
    started = time.process_time()
    function(*args)
    return time.process_time() - started


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=41, metavar="N", help="of each (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=64600, metavar="N", help="(default: %(default)s)")
    figures.add_option(parser)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = (0.2 * rng.standard_normal(args.samples).clip(-5, 5)).astype(np.float32)
    print(f"utterances of {args.samples} samples per second of CPU time on one core, medians of {args.runs}")
    print("algorithm    asvtk    plain    ratio")
    for algorithm in range(1, 9):
        config = RawBoostConfig(algorithm=algorithm)
        ours, theirs = [], []
        for _ in range(args.runs + 1):
            ours.append(seconds(rawboost, config, x, rng))
            theirs.append(seconds(plain, algorithm, x, rng))
        ours, theirs = (1 / statistics.median(times[1:]) for times in (ours, theirs))  # the first warms up
        args.figures.add(f"algorithm {algorithm}", ours, "utterances/s", theirs)
        print(f"{algorithm:9d} {ours:8.1f} {theirs:8.1f} {ours / theirs:8.1f}")


if __name__ == "__main__":
    main()
