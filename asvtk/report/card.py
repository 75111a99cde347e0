"""Model cards, after Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv 1810.03993."""

import json

import numpy as np
import yaml

from asvtk.io.config import to_mapping
from asvtk.io.datadir import LABELS
from asvtk.io.scores import read_scores
from asvtk.report.ablations import count_parameters
from asvtk.report.markdown import CONVENTIONS, results_tables, table
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

- The score is no probability. The threshold was chosen on dev; on other speech, other recordings, codecs or
  synthesis systems error rates may be anything. The table shows what it does on eval, where that was scored.
- Synthesis systems that training did not see are found less well; see the tables by attack.
- It says nothing about who speaks, or whether what is said is true. It must not be the only ground of a
  decision about a person.
- Level, silence and bandwidth of recordings can be cues; `local/robustness.sh` measures how far a result
  rests on them."""


def model_card(experiment: Experiment, threshold: dict, licence: str | None = None) -> str:
    """The card of a trained, scored and evaluated experiment, as Markdown.

    Args:
        experiment: its folder.
        threshold: as ``asvtk.training.package.threshold_on_dev`` gives it.
        licence: of the weights.
    """
    config = experiment.config()
    results, environment = (
        json.loads((experiment.folder / f"{name}.json").read_text()) for name in ("results", "environment")
    )
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
        "command": f"`{environment['command']}`",
        "licence": licence or NOT_STATED,
    }
    parts = [
        f"# {name}",
        "\n".join(f"- {what}: {value}" for what, value in facts.items()),
        _USE.format(name=name, heard=heard),
        "## Training data",
        _training_data(config, environment),
        "## Results",
        CONVENTIONS,
        results_tables(results),
        f"### At the threshold {threshold['threshold']:.6g}, chosen {threshold['chosen']}",
        _at_threshold(experiment, results, threshold["threshold"]),
        _LIMITS,
        "## Configuration",
        f"```yaml\n{yaml.safe_dump(to_mapping(config), sort_keys=False)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _conditioning(conditioning) -> str:
    said = []
    if conditioning.level is not None:
        said.append(f"all clips are brought to one level ({conditioning.level:g} dB)")
    if conditioning.highest is not None:
        said.append(f"nothing above {conditioning.highest:,g} Hz is heard")
    return f" Before that {', and '.join(said)}." if said else ""


def _training_data(config, environment: dict) -> str:
    rows = [
        [name, *(counts[label] for label in LABELS)] for name, counts in environment.get("data", {}).items()
    ]
    parts = [table(["Set", "bona fide", "spoof"], rows)] if rows else []
    once = config.training.eval_every >= config.training.epochs
    kept = "The last epoch was kept: dev was evaluated once." if once else "The epoch was chosen on dev."
    parts.append(f"{kept} Eval chose nothing.")
    if config.resynthesis is not None:
        names = ", ".join(config.resynthesis.names)
        parts.append(f"Further spoofs were made of the bona fide training speech by copy-synthesis: {names}.")
    if config.augmentation is not None:
        names = ", ".join(step.config.name for step in config.augmentation.chain.steps)
        parts.append(f"The training audio was augmented: {names}.")
    return "\n\n".join(parts)


def _at_threshold(experiment: Experiment, results: dict, threshold: float) -> str:
    rows = []
    for name in results:
        found = read_scores(experiment.scores(name))
        accepted = found.scores > threshold
        rates = np.mean(~accepted[found.bonafide]), np.mean(accepted[~found.bonafide])
        rows.append([name, *(f"{100 * rate:.2f}" for rate in rates)])
    return table(["Set", "bona fide rejected %", "spoofs accepted %"], rows)
