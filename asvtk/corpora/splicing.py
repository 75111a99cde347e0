"""Long recordings with spoofed stretches in bona fide speech, to see whether a detector finds them.

After L. Zhang et al., "The PartialSpoof Database and Countermeasures for the Detection of Short Fake Speech
Segments Embedded in an Utterance", IEEE/ACM TASLP 2023: same speaker where there is one, matched levels,
cross-faded joints. Unlike there, the recordings are minutes long, and joints also lie between pieces of one
label, so that a joint by itself tells nothing.
"""

import dataclasses
import functools

import numpy as np

from asvtk.corpora.derived import Clip, derive
from asvtk.corpora.shortcuts import sounding
from asvtk.corpora.splice_plan import MIXED, Piece, Recording, SpliceConfig, joint_zone, plan_recordings
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.rttm import Span, rttm_text
from asvtk.io.tables import read_table

__all__ = ["LEVEL", "splice_set"]

#: dB below full scale of the RMS of every piece's utterance, silence before and behind it left out
LEVEL = -26.0
#: raise it when a change here or in splice_plan changes what is made
GENERATION = 1
#: columns of pieces.tsv; times in seconds
_PIECES = (
    "recording", "start", "end", "label", "attack", "speaker", "source", "source_start", "joint", "fade_ms",
)  # fmt: skip


def splice_set(
    source: DataDirectory, config: SpliceConfig, out, jobs: int = 4, force: bool = False
) -> tuple[DataDirectory, list[Recording]]:
    """Make a data directory of spliced recordings.

    Beside the tables of every data directory stand ``segments.rttm`` (which parts are bona fide and spoofed),
    ``utt2spoofshare`` (share of samples that are spoofed) and ``pieces.tsv`` (each piece, where it comes
    from and how it is joined to the one before). A recording is ``spoof`` if any part is; its attack is that
    of its spoofs, or ``mixed``.

    Args:
        source: utterances of both classes.
        config: what to make.
        out: the data directory to write; see ``asvtk.corpora.derived.derive``.
        jobs: number of processes; nothing depends on it.
        force: make it even if it is there.

    Returns:
        the data directory, and the plans of its recordings.

    Raises:
        AsvtkError: audio that cannot be read, where all else is made; see also ``plan_recordings`` and
            ``derive``.
    """
    recordings = plan_recordings(source, config)
    how = {**dataclasses.asdict(config), "generation": GENERATION}
    how |= {name: list(value) for name, value in how.items() if isinstance(value, tuple)}  # as JSON has them
    legend = source.path / "attack2kind"
    kinds = {MIXED: MIXED, **(read_table(legend) if legend.exists() else {})}
    clips = [_clip(recording, source, config.match_level) for recording in recordings]
    beside = {
        "segments.rttm": rttm_text({of.utterance: _spans(of) for of in recordings}),
        "utt2spoofshare": "".join(f"{of.utterance} {of.spoof_share:.6f}\n" for of in recordings),
        "pieces.tsv": _pieces_text(recordings, source),
    }
    data, faults = derive(source, out, clips, {"spliced": how}, kinds, jobs, force, beside)
    if faults:
        raise AsvtkError(
            f"{out}/failed: {len(faults)} of {len(clips)} recordings could not be made: "
            f"{listing(faults.values(), 3)}; all others are there: restore the audio and run it again"
        )
    return data, recordings


def _clip(recording: Recording, source: DataDirectory, match_level: bool) -> Clip:
    used = dict.fromkeys(piece.source for piece in recording.pieces)
    # The first source gives the speaker; of who has no spoofs that need not be the first piece.
    sources = sorted(used, key=lambda utterance: source.speaker[utterance] != recording.speaker)
    change = functools.partial(_join, recording.pieces, sources, match_level)
    return Clip(recording.utterance, tuple(sources), recording.attack, change)


def _join(pieces: list[Piece], sources: list[str], match_level: bool, *audio: np.ndarray) -> np.ndarray:
    """The recording, float64 (samples,), from the samples of its sources, each float32 (samples,)."""
    of = dict(zip(sources, audio, strict=True))
    gains = {name: _gain(samples) if match_level else 1.0 for name, samples in of.items()}
    made = np.zeros(pieces[-1].end)
    joints = [joint_zone(before, after) for before, after in zip(pieces, pieces[1:], strict=False)]
    ends = [*joints, (len(made), len(made))]
    for piece, (begin, risen), (falling, end) in zip(pieces, [(0, 0), *joints], ends, strict=True):
        first = piece.begin + begin - piece.start
        samples = gains[piece.source] * of[piece.source][first : first + end - begin].astype(np.float64)
        # Sine and cosine: the pieces have nothing in common, so their powers add up to what they were.
        samples[: risen - begin] *= np.sin(_angles(risen - begin))
        samples[len(samples) - (end - falling) :] *= np.cos(_angles(end - falling))
        made[begin:end] += samples
    peak = np.abs(made).max()
    return made / peak if peak > 1 else made


def _angles(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) / max(n, 1) * np.pi / 2


def _gain(samples: np.ndarray) -> float:
    """What brings an utterance to `LEVEL`; a silent one stays as it is."""
    rms = np.sqrt(np.square(samples[sounding(samples)], dtype=np.float64).mean())
    return 10 ** (LEVEL / 20) / rms if rms > 0 else 1.0


def _spans(recording: Recording) -> list[Span]:
    return [Span(start / SAMPLE_RATE, end / SAMPLE_RATE, label) for start, end, label in recording.stretches]


def _pieces_text(recordings: list[Recording], source: DataDirectory) -> str:
    rows = [list(_PIECES)]
    for of in recordings:
        for piece in of.pieces:
            seconds = [place / SAMPLE_RATE for place in (piece.start, piece.end, piece.begin)]
            start, end, begin = (f"{second:.4f}" for second in seconds)
            joint = "start" if piece.start == 0 else "fade" if piece.fade else "cut"
            row = [of.utterance, start, end, piece.label, source.attack[piece.source]]
            row += [source.speaker[piece.source], piece.source, begin, joint]
            rows.append([*row, f"{1000 * piece.fade / SAMPLE_RATE:g}"])
    return "".join("\t".join(row) + "\n" for row in rows)
