#!/usr/bin/env python3
"""Time of a whole `asvtk evaluate`: 71,237 CM + 102,579 ASV trials, 13 per-attack EERs, both t-DCFs.

  tools/bench/evaluate.py [--scores FILE --asv-scores FILE] [--runs N]
  tools/bench/evaluate.py --trials 611829 [--runs N]    # a key like that of 2021 DF, with five breakdowns

Beside it, as processes of their own: `import numpy` alone, the floor under any such tool, and the
metrics' definition transcribed plainly, line by line and threshold by threshold. The three take turns,
so that a busy machine is equally busy for all; CPU time is what each computes meanwhile. Without files
it makes trials of the official numbers in a temporary folder. Never run as a test.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import figures
import numpy as np

PLAIN = """
import sys
import numpy as np

def rates(bonafide, spoof):
    scores = np.concatenate([bonafide, spoof])
    labels = np.concatenate([np.ones(len(bonafide)), np.zeros(len(spoof))])
    labels = labels[np.argsort(scores, kind="mergesort")]
    scores = np.sort(scores)
    frr, far, rejected_bonafide, rejected_spoof = [0.0], [1.0], 0, 0
    for label in labels:
        rejected_bonafide += label == 1
        rejected_spoof += label == 0
        frr.append(rejected_bonafide / len(bonafide))
        far.append(1 - rejected_spoof / len(spoof))
    return np.array(frr), np.array(far), scores

def eer(frr, far):
    k = np.argmin(np.abs(frr - far))
    return (frr[k] + far[k]) / 2, k

cm = [line.split() for line in open(sys.argv[1])]
asv = [line.split() for line in open(sys.argv[2])]
bonafide = np.array([float(row[3]) for row in cm if row[2] == "bonafide"])
spoof = np.array([float(row[3]) for row in cm if row[2] == "spoof"])
target, nontarget, spoofed = (
    np.array([float(row[2]) for row in asv if row[1] == key]) for key in ("target", "nontarget", "spoof")
)
frr, far, scores = rates(target, nontarget)
threshold = scores[eer(frr, far)[1] - 1]
p_miss, p_fa = np.mean(target < threshold), np.mean(nontarget >= threshold)
p_fa_spoof = np.mean(spoofed >= threshold)
c0 = 0.9405 * p_miss + 0.0095 * 10 * p_fa
c1, c2 = 0.9405 - c0, 0.05 * 10 * p_fa_spoof

def report(name, spoof):
    frr, far, _ = rates(bonafide, spoof)
    legacy = np.min(c1 * frr + c2 * far) / min(c1, c2)
    revisited = np.min(c0 + c1 * frr + c2 * far) / (c0 + min(c1, c2))
    print(name, 100 * eer(frr, far)[0], legacy, revisited)

report("pooled", spoof)
for attack in sorted({row[1] for row in cm if row[2] == "spoof"}):
    report(attack, np.array([float(row[3]) for row in cm if row[1] == attack]))
"""


def make_trials(folder: Path):
    """Score files of the official numbers of trials, with 16 and 8 digits a score as real ones have."""
    rng = np.random.default_rng(0)
    scores, asv_scores = folder / "scores.txt", folder / "asv.txt"
    trials = [("-", "bonafide", 5.0)] * 7355
    trials += [(f"A{i:02d}", "spoof", -5.0) for i in range(7, 20) for _ in range(4914)]
    noise = rng.normal(scale=2.2, size=len(trials)).astype(np.float32).astype(float).tolist()
    with open(scores, "w") as file:
        for i in rng.permutation(len(trials)).tolist():
            attack, key, mean = trials[i]
            file.write(f"LA_E_{i:07d} {attack} {key} {mean + noise[i]!r}\n")
    with open(asv_scores, "w") as file:
        for key, mean, n in (("target", 10, 5370), ("nontarget", -20, 33327), ("spoof", 2, 63882)):
            for i, score in enumerate(rng.normal(mean, 8, n)):
                file.write(f"{f'A{7 + i % 13:02d}' if key == 'spoof' else 'bonafide'} {key} {score:.6f}\n")
    return scores, asv_scores


BREAKDOWNS = ("compression", "database", "vocoder", "speaker", "language")


def make_2021_df(folder: Path, n: int):
    """Scores and a key of 13 columns, ids and words of the lengths of 2021 DF's."""
    rng = np.random.default_rng(0)
    low_and_high = [f"{how}_{codec}" for codec in ("mp3", "m4a", "ogg") for how in ("low", "high")]
    compressions = ["nocodec", *low_and_high, "mp3m4a", "oggm4a"]
    neural = [f"neural_vocoder_{kind}" for kind in ("autoregressive", "nonautoregressive")]
    vocoders = ["traditional_vocoder", "waveform_concatenation", *neural, "unknown"]

    def drawn(words):
        return [words[i] for i in rng.integers(0, len(words), n)]

    bonafide = (rng.random(n) < 22617 / 611829).tolist()
    columns = zip(
        bonafide,
        drawn([f"LA_{i:04d}" for i in range(48)]),
        rng.permutation(np.arange(2_000_000, 2_000_000 + n)).tolist(),
        drawn(compressions),
        drawn(["asvspoof", "vcc2018", "vcc2020"]),
        drawn([f"A{i:02d}" for i in range(7, 20)] + [f"Task1-team{i:02d}" for i in range(60)]),
        drawn(vocoders),
        drawn([f"team{i:02d}" for i in range(33)]),
        drawn(["English", "Finnish", "German", "Mandarin"]),
        (rng.normal(size=n) * 2 + 3 * np.array(bonafide)).astype(np.float32).astype(float).tolist(),
        strict=True,
    )
    key, scores = [], []
    for genuine, speaker, i, compression, source, attack, vocoder, team, language, score in columns:
        said = "bonafide" if genuine else "spoof"
        attack, vocoder = ("-", "bonafide") if genuine else (attack, vocoder)
        key.append(
            f"{speaker} DF_E_{i} {compression} {source} {attack} {said} notrim eval {vocoder} Task1 {team} "
            f"male_male {language}\n"
        )
        scores.append(f"DF_E_{i} {score!r}\n")
    (folder / "key.txt").write_text("".join(key))
    (folder / "scores.txt").write_text("".join(sorted(scores)))
    return folder / "scores.txt", folder / "key.txt"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scores", metavar="FILE", help="CM scores, not gzipped")
    parser.add_argument("--asv-scores", metavar="FILE", help="ASV scores, not gzipped")
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="of each (default: %(default)s)")
    parser.add_argument(
        "--trials", type=int, metavar="N", help="time this many trials of a key like 2021 DF's"
    )
    figures.add_option(parser)
    args = parser.parse_args()
    if args.trials:
        time_key(args.trials, args.runs)
        return
    if bool(args.scores) != bool(args.asv_scores):
        parser.error("--scores and --asv-scores go together")
    with tempfile.TemporaryDirectory() as folder:
        scores, asv = (args.scores, args.asv_scores) if args.scores else make_trials(Path(folder))
        python, files = sys.executable, [str(scores), str(asv)]
        ours = [python, "-m", "asvtk", "evaluate", "--scores", files[0], "--asv-scores", files[1]]
        commands = {
            "asvtk evaluate": ours,
            "import numpy alone": [python, "-c", "import numpy"],
            "plain transcription": [python, "-c", PLAIN, *files],
        }
        times = {name: [] for name in commands}
        for _ in range(args.runs + 1):
            for name, command in commands.items():
                times[name].append(measure(command))
    medians = {name: summary(name, pairs) for name, pairs in times.items()}
    ours, plain = medians["asvtk evaluate"], medians["plain transcription"]
    args.figures.add("the whole process", ours, "s", plain, False)
    ratio = plain / ours
    print(f"asvtk evaluate is {ratio:.1f} times as fast as the plain transcription (medians of wall time)")


def time_key(n: int, runs: int) -> None:
    """Key and scores of ``n`` trials, with five breakdowns; beside it `import numpy` alone."""
    with tempfile.TemporaryDirectory() as folder:
        scores, key = map(str, make_2021_df(Path(folder), n))
        by = [word for column in BREAKDOWNS for word in ("--by", column)]
        python = sys.executable
        ours = [python, "-m", "asvtk", "evaluate", "--scores", scores, "--protocol", key, *by]
        for name, command in {
            "asvtk evaluate": ours,
            "import numpy alone": [python, "-c", "import numpy"],
        }.items():
            summary(name, [measure(command) for _ in range(runs + 1)])


def summary(name: str, pairs: list) -> float:
    """Print wall and CPU times, and return the median wall time; the first run warms the file cache."""
    wall, cpu = zip(*pairs[1:], strict=True)
    print(
        f"{name:<20} wall: median {statistics.median(wall):.3f} s, fastest {min(wall):.3f} s; "
        f"CPU: median {statistics.median(cpu):.3f} s, least {min(cpu):.3f} s; {len(wall)} runs"
    )
    return statistics.median(wall)


def measure(command) -> tuple:
    """Wall and CPU time of a process, in seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {command}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
