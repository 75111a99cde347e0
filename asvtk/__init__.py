"""asvtk: tell human speech from synthetic and converted speech.

The package is a house of floors, and imports only go down::

    bin         one small file per verb (= per stage): parse, call, report
    report      RESULTS.md, plots, HTML
    training    trainer, checkpoints, experiments
    models      one file per system, and a registry by name
    frontends   LFCC, SSL models; the feature cache
    nn          parts: selective scan, BiMamba, mixture of experts, pooling, losses
    augment     RawBoost, noise, rooms and codecs on training speech
    vocoding    classic vocoders, and the training spoofs that they make
    corpora     corpus -> data directory
    metrics     EER, t-DCF and their breakdowns: numpy only, no torch
    io          audio, ark/scp, data directories, configurations, atomic files

Importing ``asvtk`` itself imports nothing else.
"""

from asvtk.version import __version__

__all__ = ["__version__"]
