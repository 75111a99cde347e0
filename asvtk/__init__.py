"""asvtk: tell human speech from synthetic and converted speech.

    import asvtk, soundfile
    detector = asvtk.load("model.asvtk.tar")          # or an experiment's folder, or "aasist"
    detector.score(*soundfile.read("clip.flac"))      # higher = bona fide

The package is a house of floors, and imports only go down::

    bin         one small file per verb (= per stage): parse, call, report
    serve       detection over HTTP and WebSocket, and its page
    report      RESULTS.md, plots, HTML
    training    trainer, checkpoints, experiments
    inference   trained detectors on any audio: load, packages, published weights, recordings
    models      one file per back-end, a registry by name; the detector
    frontends   LFCC, spectrogram, SSL models; the feature cache
    nn          parts: selective scan, BiMamba, mixture of experts, pooling, losses
    augment     RawBoost, noise, rooms and codecs on training speech
    vocoding    classic vocoders, and the training spoofs that they make
    corpora     corpus -> data directory
    metrics     EER, t-DCF and their breakdowns: numpy only, no torch
    io          audio, ark/scp, data directories, configurations, atomic files

Importing ``asvtk`` itself imports nothing else: ``load`` and ``Detector`` are fetched when they are used.
"""

from asvtk.version import __version__

__all__ = ["Detector", "__version__", "load"]


def __getattr__(name: str):
    if name == "load":
        from asvtk.inference.load import load

        return load
    if name == "Detector":
        from asvtk.models.detector import Detector

        return Detector
    raise AttributeError(f"module 'asvtk' has no attribute {name!r}")
