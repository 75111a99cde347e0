"""Model cards, after Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv 1810.03993."""

import yaml

from asvtk.inference.calibration import DetectorCalibration
from asvtk.io.config import to_mapping
from asvtk.io.datadir import LABELS
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores
from asvtk.io.text import read_json
from asvtk.metrics.operating_point import errors_at
from asvtk.metrics.results import WRITTEN, read_results
from asvtk.report.ablations import count_parameters
from asvtk.report.markdown import CONVENTIONS, code, plain_text, results_tables, table
from asvtk.report.values import shown
from asvtk.training.calibration import current_calibration
from asvtk.training.experiment import Experiment

__all__ = ["model_card"]

NOT_STATED = (
    "Not stated by who packed it. Weights may be bound by the licences of the data they were learnt from."
)

_USE = """\
## Intended use

Research on audio anti-spoofing: telling human speech from synthetic and converted speech, for speech like
that of the training data. It gives one score a clip; higher = bona fide.

```bash
asvtk score --model {name}.asvtk.tar --audio FOLDER --out scores.tsv
```

{heard} Other sample rates are converted to 16 kHz, several channels are averaged."""

_LIMITS = """\
## Limits

- The score is no probability. The threshold was chosen on dev, and so was the calibration; on other speech,
  other recordings, codecs or synthesis systems error rates may be anything. The table shows what they do on
  eval, where that was scored.
- Synthesis systems that training did not see are found less well; see the tables by attack.
- It says nothing about who speaks, or whether what is said is true. It must not be the only ground of a
  decision about a person.
- Level, silence and bandwidth of recordings can be shortcuts; `local/robustness.sh` measures how far a result
  rests on them."""


def model_card(experiment: Experiment, threshold: dict, licence: str | None = None) -> str:
    """The card of a trained, scored and evaluated experiment, as Markdown.

    Args:
        experiment: its folder.
        threshold: as ``asvtk.training.trained.threshold_on_dev`` gives it.
        licence: of the weights.

    Raises:
        AsvtkError: results.json, environment.json or scores are missing, or are not what asvtk writes.
    """
    config = experiment.config()
    results = read_results(experiment.folder / "results.json", needs=WRITTEN)
    environment = _environment(experiment.folder / "environment.json")
    crop = config.frontend.crop
    heard = "It hears all of a clip."
    if crop.samples is not None:
        shorter = ", and repeats shorter ones" if crop.repeat else ""
        heard = (
            f"It hears the first {crop.samples:,} samples of a clip ({crop.samples / 16000:.2f} s){shorter}."
        )
    heard += _conditioning(config.frontend.conditioning)
    name = experiment.folder.name
    facts = {
        "system": f"{config.model.name} on {config.frontend.name}, loss {config.loss.name}",
        "parameters": f"{count_parameters(experiment):,}, without those of a frozen front-end",
        "trained": f"{environment['date']}, asvtk {environment['asvtk']} {environment['git_revision']}",
        "command": code(environment["command"]),
        "licence": plain_text(licence or NOT_STATED),
    }
    parts = [
        f"# {plain_text(name)}",
        "\n".join(f"- {what}: {value}" for what, value in facts.items()),
        _USE.format(name=name, heard=heard),
        "## Training data",
        _training_data(config, environment),
        "## Results",
        CONVENTIONS,
        results_tables(results),
        f"### At the threshold {threshold['threshold']:.6g}, chosen {threshold['chosen']}",
        _at_threshold(experiment, results, threshold["threshold"]),
        "### Calibration",
        _calibration(*current_calibration(experiment)),
        _LIMITS,
        "## Configuration",
        f"```yaml\n{yaml.safe_dump(to_mapping(config), sort_keys=False)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _calibration(calibration: DetectorCalibration | None, reason: str) -> str:
    if calibration is None:
        return plain_text(reason or "uncalibrated: stage 5 (asvtk calibrate) fits a calibration on dev") + "."
    window, errors = calibration.window, calibration.errors
    offset, weight = (shown(value, None) for value in (window.offset, window.weights[0]))
    parts = [
        f"Log-likelihood ratio of a window (positive = bona fide): {offset} + {weight} × score, by logistic "
        f"regression on {window.dev.n_bonafide} bona fide and {window.dev.n_spoof} spoofed windows of dev, "
        f"weighted to a prior of {window.prior:g}. With a prior of 0.5 the threshold is 0."
    ]
    if errors is not None:
        at = errors.at(0.0)
        parts.append(
            f"At 0, on {plain_text(errors.data)}, by the head of each recording: "
            f"{shown(100 * at['frr'], 3)} % of {errors.bonafide} bona fide ones rejected, "
            f"{shown(100 * at['far'], 3)} % of {errors.spoof} spoofs accepted."
        )
    warnings = dict.fromkeys((*window.warnings, *calibration.recording.warnings))
    parts += [f"**Warning**: {plain_text(warning)}" for warning in warnings]
    return "\n\n".join(parts)


def _conditioning(conditioning) -> str:
    steps = []
    if conditioning.loudness_db is not None:
        steps.append(f"all clips are brought to one level ({conditioning.loudness_db:g} dB)")
    if conditioning.lowpass_hz is not None:
        steps.append(f"nothing above {conditioning.lowpass_hz:,g} Hz is heard")
    return f" Before that {', and '.join(steps)}." if steps else ""


def _training_data(config, environment: dict) -> str:
    rows = [
        [name, *(counts[label] for label in LABELS)] for name, counts in environment.get("data", {}).items()
    ]
    parts = [table(["Set", "bona fide", "spoof"], rows)] if rows else []
    once = config.training.eval_every >= config.training.epochs
    kept = "The last epoch was kept: dev was evaluated once." if once else "The epoch was chosen on dev."
    parts.append(f"{kept} Eval chose nothing.")
    if config.vocoded is not None:
        names = ", ".join(config.vocoded.names)
        parts.append(f"Further spoofs were made of the bona fide training speech by copy-synthesis: {names}.")
    if config.augmentation is not None:
        names = ", ".join(step.config.name for step in config.augmentation.chain.steps)
        parts.append(f"The training audio was augmented: {names}.")
    return "\n\n".join(parts)


def _environment(path) -> dict:
    environment = read_json(path)
    words = ("date", "asvtk", "git_revision", "command")
    if not all(isinstance(environment.get(key), (str, type(None))) for key in words):
        raise AsvtkError(
            f"{path}: expected texts for {', '.join(words)}; train with --force true to write it"
        )
    if not environment.get("command"):
        raise AsvtkError(f"{path}: names no command; expected what stage 3 writes")
    data = environment.get("data", {})
    if not isinstance(data, dict) or not all(
        isinstance(counts, dict) and set(LABELS) <= counts.keys() for counts in data.values()
    ):
        raise AsvtkError(f"{path}: data: expected the number of clips of each class and set")
    return environment


def _at_threshold(experiment: Experiment, results: dict, threshold: float) -> str:
    rows = []
    for name in results:
        found = read_scores(experiment.scores(name))
        if found.bonafide is None:
            raise AsvtkError(f"{found.source}: holds no keys; run stage 4 again")
        at = errors_at(found.scores[found.bonafide], found.scores[~found.bonafide], threshold)
        rows.append([name, shown(100 * at["frr"], 3), shown(100 * at["far"], 3)])
    return table(["Set", "bona fide rejected %", "spoofs accepted %"], rows)
