#!/usr/bin/env python3
"""Generate a small anti-spoofing corpus in the layout of ASVspoof 2019 LA, without any download.

"Bona fide" is the voice of espeak-ng, "spoof" the same voices saying other sentences, sent through
a vocoder or a voice conversion (asvtk.vocoding.vocoders). Both then pass the same random
recording conditions. Training and development share six systems, A01 to A06; evaluation brings nine
new ones, and, as in the real database, A16 is A04 again and A19 is A06.

Every corpus of the same settings has the same bytes, however many jobs made it. attacks.tsv
explains the systems; corpus.json is written last, and a run that finds it has nothing to do.
"""

import argparse
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

import functools
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from espeak import speak
from scipy import signal

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.processes import in_processes
from asvtk.vocoding.vocoders import VOCODERS, vocode

#: raise it when a change of this file or of the vocoders changes the corpus
GENERATOR = 1
SAMPLE_RATE = 16000

#: attack -> vocoder and its settings
ATTACKS = {
    "A01": ("world_coded", {}),
    "A02": ("griffin_lim", {}),
    "A03": ("lpc_vocoder", {}),
    "A04": ("sinusoidal", {}),
    "A05": ("world_conversion", {}),
    "A06": ("lpc_conversion", {}),
    "A07": ("world", {}),
    "A08": ("world_buzzy", {}),
    "A09": ("channel_noise", {}),
    "A10": ("channel_pulse", {}),
    "A11": ("homomorphic", {}),
    "A12": ("griffin_lim", {"mels": 40, "iterations": 8}),
    "A13": ("zero_phase", {}),
    "A14": ("random_phase", {"spread": 0.6}),
    "A15": ("harmonic", {}),
    "A16": ("sinusoidal", {}),
    "A19": ("lpc_conversion", {}),
}
KNOWN = list(ATTACKS)[:6]
NEW = list(ATTACKS)[6:]
BONAFIDE_SHARE = 0.4


class Split(NamedTuple):
    name: str
    letter: str
    suffix: str  # of the official protocol's name
    speakers: int
    attacks: list[str]


SPLITS = (
    Split("train", "T", "train.trn", 12, KNOWN),
    Split("dev", "D", "dev.trl", 8, KNOWN),
    Split("eval", "E", "eval.trl", 12, NEW),
)

#: espeak-ng's variants that have a pitch and sound like nobody else; each makes one speaker
VARIANTS = [
    *("f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "aunty", "belinda", "grandma", "linda"),
    *("shelby", "steph", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Gene", "Gene2"),
    *("Lee", "Michael", "Mike", "Reed", "boris", "david", "ed", "edward", "grandpa", "gustave", "marcelo"),
    *("max", "michel", "norbert", "pablo", "pedro", "quincy", "rob", "travis", "victor"),
]

PHRASES = {
    "en-us": (
        "the harbour was quiet",
        "we counted the boats",
        "please close the gate",
        "rain fell all evening",
    ),
    "en-gb-x-rp": (
        "the kettle is on",
        "my brother paints houses",
        "turn left at the bridge",
        "nobody saw the fox",
    ),
    "de": ("der Zug hat Verspätung", "wir gehen in den Garten", "das Fenster ist offen", "morgen schneit es"),
    "fr": (
        "le marché ouvre tôt",
        "nous cherchons la gare",
        "il pleut sur la ville",
        "ma tante joue du piano",
    ),
    "es": (
        "la puerta está cerrada",
        "mañana vamos al río",
        "el perro duerme mucho",
        "quiero un vaso de agua",
    ),
    "it": ("la finestra è aperta", "domani torna mio fratello", "il pane è ancora caldo", "andiamo al mare"),
    "pt-br": ("a chuva parou cedo", "vamos jantar mais tarde", "o gato subiu no muro", "comprei dois livros"),
    "nl": ("de fiets staat buiten", "wij drinken koffie", "het water is koud", "morgen komt mijn zus"),
    "pl": ("pociąg już odjechał", "lubimy ciepły chleb", "okno jest otwarte", "jutro będzie padać"),
    "sv": ("båten ligger vid bryggan", "vi åker hem i kväll", "katten sover på stolen", "det snöar igen"),
    "fi": ("juna on myöhässä", "menemme huomenna metsään", "ikkuna on auki", "vesi on kylmää"),
    "tr": ("kapı açık kaldı", "yarın denize gidiyoruz", "ekmek hala sıcak", "kedi uyuyor"),
}


class Speaker(NamedTuple):
    name: str
    voice: str  # language+variant
    rate: int  # words per minute
    pitch: int


class Utterance(NamedTuple):
    seed: int
    split: int
    number: int
    speaker: Speaker
    attack: str  # "-" for bona fide

    @property
    def name(self) -> str:
        return f"LA_{SPLITS[self.split].letter}_{self.number:07d}"

    @property
    def audio(self) -> Path:
        return Path(f"ASVspoof2019_LA_{SPLITS[self.split].name}", "flac", f"{self.name}.flac")

    @property
    def protocol_line(self) -> str:
        key = "bonafide" if self.attack == "-" else "spoof"
        return f"{self.speaker.name} {self.name} - {self.attack} {key}\n"


def plan(seed: int, counts: dict[str, int]) -> list[list[Utterance]]:
    """Speakers, attacks and names of every utterance of each split, in the order of its protocol."""
    rng = np.random.default_rng(seed)
    languages = list(PHRASES)
    cast = [
        Speaker(
            name=f"LA_{index:04d}",
            voice=f"{languages[rng.integers(len(languages))]}+{variant}",
            rate=int(rng.integers(140, 200)),
            pitch=int(rng.integers(35, 66)),
        )
        for index, variant in enumerate(rng.permutation(VARIANTS), start=1)
    ]
    splits = []
    for index, split in enumerate(SPLITS):
        speakers, cast = cast[: split.speakers], cast[split.speakers :]
        count = counts[split.name]
        bonafide = round(BONAFIDE_SHARE * count)
        attacks = ["-"] * bonafide + [split.attacks[i % len(split.attacks)] for i in range(count - bonafide)]
        # Speakers are dealt to each class by itself, so that all have the same share of either.
        owners = [i % split.speakers for i in range(bonafide)] + [
            i % split.speakers for i in rng.permutation(count - bonafide)
        ]
        numbers = 1_000_000 + rng.choice(9_000_000, count, replace=False)
        utterances = [
            Utterance(seed, index, int(number), speakers[owner], attack)
            for number, owner, attack in zip(numbers, owners, attacks, strict=True)
        ]
        splits.append([utterances[i] for i in rng.permutation(count)])
    return splits


def make(folder: Path, utterance: Utterance) -> None:
    """Write the audio of one utterance; all its chances hang on the seed and its name only."""
    rng = np.random.default_rng([utterance.seed, utterance.split, utterance.number])
    audio = say(utterance.speaker, rng)
    if utterance.attack != "-":
        method, setting = ATTACKS[utterance.attack]
        audio = vocode(method, audio, SAMPLE_RATE, rng, **setting)
    path = folder / utterance.audio
    soundfile.write(path, record(audio, rng), SAMPLE_RATE, subtype="PCM_16", format="FLAC")


def say(speaker: Speaker, rng):
    """Phrases and numbers until 1.4 to 3 s are full, and silence around them: 1.5 to 4 s at 16 kHz."""
    language = speaker.voice.partition("+")[0]
    target = rng.uniform(1.4, 3.0) * SAMPLE_RATE
    speech = np.zeros(0)
    while len(speech) < target:
        text = str(rng.choice(PHRASES[language])) if rng.random() < 0.5 else str(rng.integers(2, 1000))
        piece, rate = speak(
            text,
            speaker.voice,
            rate=speaker.rate + int(rng.integers(-15, 16)),
            pitch=speaker.pitch + int(rng.integers(-6, 7)),
            pitch_range=int(rng.integers(30, 71)),
            seed=int(rng.integers(1, 2**31)),
        )
        piece = signal.resample_poly(piece, SAMPLE_RATE, rate)
        loud = np.flatnonzero(np.abs(piece) > 0.01 * np.abs(piece).max())
        pause = silence(rng, 0.08, 0.25) if len(speech) else np.zeros(0)
        speech = np.concatenate([speech, pause, piece[loud[0] : loud[-1] + 1]])
    speech = speech[: int(3.4 * SAMPLE_RATE)]
    fade = SAMPLE_RATE // 50
    speech[-fade:] *= np.linspace(1, 0, fade)
    return np.concatenate([silence(rng, 0.05, 0.3), speech, silence(rng, 0.05, 0.3)])


def silence(rng, shortest: float, longest: float):
    return np.zeros(int(rng.uniform(shortest, longest) * SAMPLE_RATE))


def record(audio, rng):
    """A small room, a microphone, noise and a gain: what keeps anything but the voice from telling.

    Without them, exact zeros, the band edge, the polarity of the pulses or the level of the noise
    floor would give the spoofs away.
    """
    room = rng.standard_normal(SAMPLE_RATE // 25) * np.exp(-np.linspace(0, 7, SAMPLE_RATE // 25))
    room *= rng.uniform(0.05, 0.25) / np.sqrt(np.sum(room**2))
    room[0] = 1
    audio = signal.fftconvolve(audio, room)[: len(audio)]
    audio = signal.lfilter([1, rng.uniform(-0.4, 0.4)], [1], audio)
    lowpass = signal.butter(4, rng.uniform(6500, 7800), fs=SAMPLE_RATE, output="sos")
    audio = signal.sosfilt(lowpass, audio)
    noise = signal.lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(len(audio)))
    audio = audio / np.std(audio) + 10 ** (-rng.uniform(20, 40) / 20) * noise / np.std(noise)
    audio *= rng.choice([-1, 1]) * 10 ** (-rng.uniform(23, 33) / 20) / np.std(audio)
    return audio / max(1.0, np.abs(audio).max() / 0.99)


def generate(folder: Path, seed: int, counts: dict[str, int], jobs: int) -> None:
    """Make the corpus in ``folder``, unless it is there.

    Raises:
        AsvtkError: ``folder`` holds a corpus that is not ours, or something could not be made.
    """
    splits = plan(seed, counts)
    everything = [utterance for split in splits for utterance in split]
    stamp = folder / "corpus.json"
    settings = json.dumps({"generator": GENERATOR, "seed": seed, **counts}) + "\n"
    complete = stamp.is_file() and stamp.read_text() == settings
    if complete and all((folder / utterance.audio).is_file() for utterance in everything):
        print(f"{folder}: the corpus of these settings is there ({len(everything)} utterances)")
        return
    legend = folder / "attacks.tsv"
    mark = folder / ".generated"  # an attacks.tsv may be anybody's
    if any(folder.glob("ASVspoof2019_LA_*")) and not mark.is_file():
        raise AsvtkError(
            f"{folder} holds a corpus that this program did not make (no {mark.name}), and it would be "
            "overwritten; give another folder"
        )
    write_text(mark, "by egs/mini/local/generate_corpus.py, which may replace this corpus\n")
    stamp.unlink(missing_ok=True)
    write_text(legend, attack_table())
    for split, utterances in zip(SPLITS, splits, strict=True):
        audio = folder / f"ASVspoof2019_LA_{split.name}" / "flac"
        shutil.rmtree(audio, ignore_errors=True)
        audio.mkdir(parents=True)
        write_text(
            folder / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{split.suffix}.txt",
            "".join(utterance.protocol_line for utterance in utterances),
        )
    try:
        for _ in in_processes(functools.partial(make, folder), everything, jobs, str(folder)):
            pass
    except soundfile.LibsndfileError as error:
        raise AsvtkError(f"{folder}: cannot write audio ({error}); free space and run it again") from error
    write_text(stamp, settings)
    print(f"{folder}: {len(everything)} utterances")


def attack_table() -> str:
    rows = ["attack\tkind\tsystem\n"]
    for attack, (method, setting) in ATTACKS.items():
        words = [VOCODERS[method].description, *(f"{key} {value}" for key, value in setting.items())]
        rows.append(f"{attack}\t{VOCODERS[method].kind}\t{', '.join(words)}\n")
    return "".join(rows)


def whole(least: int):
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least}, got {value}")
        return value

    return parse


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="OUT_DIR", help="becomes the official LA/ folder")
    parser.add_argument("--seed", type=whole(0), default=1)
    parser.add_argument(
        "--jobs", type=whole(1), default=os.cpu_count(), help="processes (default: all cores)"
    )
    for split, count in (("train", 320), ("dev", 80), ("eval", 160)):
        parser.add_argument(
            f"--{split}", type=whole(1), default=count, metavar="N", help=f"utterances (default: {count})"
        )
    args = parser.parse_args()
    try:
        generate(
            args.folder, args.seed, {split.name: getattr(args, split.name) for split in SPLITS}, args.jobs
        )
    except AsvtkError as error:
        print(f"generate_corpus.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
