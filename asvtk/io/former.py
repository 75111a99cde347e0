"""Former configuration keys, names and verbs, each refused with what became of it."""

from asvtk.io.errors import AsvtkError

__all__ = ["FORMER", "FORMER_VERBS", "refuse_former"]

#: key, or key=value, as words of an override have it -> what became of it
FORMER = {
    "model.name=committee": "was removed; train the systems by themselves, and fuse their scores by "
    "'asvtk calibrate'",
    "frontend.mode": "is frontend.cache now: true for what was cached or split, false for live",
    "frontend.conditioning.level": "is called frontend.conditioning.loudness_db now",
    "frontend.conditioning.highest": "is called frontend.conditioning.lowpass_hz now",
    "model.neck": "is called model.fusion now",
    "model.audio": "was removed; delete it: the audio stream of dual_stream has learnable filters",
    "model.subtract_mean": "was removed; delete it: conv_moe_mamba subtracts the mean, dual_stream does not",
    "resynthesis": "is called vocoded now",
    "training.band_limited": "was removed; delete it",
    "training.accumulate": "is called training.grad_accum now",
    "training.clip": "is called training.grad_clip now",
    "training.splice": "was removed; delete it",
    "loss.name=am_softmax": "was removed; oc_softmax and wce are what the recipes use",
}
#: verb of the command line -> what became of it
FORMER_VERBS = {"cues": "is called shortcuts now"}
_ABSENT = object()


def refuse_former(content: dict, where: str) -> None:
    """Refuse a configuration that was written for an earlier asvtk.

    Args:
        content: as YAML has it, or a part of it.
        where: its file, for messages.

    Raises:
        AsvtkError: it has a key or a name of ``FORMER``.
    """
    for word, fate in FORMER.items():
        key, _, value = word.partition("=")
        section = content.get(key.partition(".")[0])
        if isinstance(section, dict) and ":" in str(section.get("name")):
            continue  # a class outside this package has keys of its own
        place = content
        for name in key.split("."):
            place = place.get(name, _ABSENT) if isinstance(place, dict) else _ABSENT
        if place is not _ABSENT and (not value or place == value):
            raise AsvtkError(f"{where}: {word} {fate}")
