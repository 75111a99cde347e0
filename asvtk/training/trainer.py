"""Stage 3: setup -> data -> detector -> epochs -> finish.

Randomness is a function of (seed, epoch) alone: each epoch seeds itself. A run that was killed and
goes on from its last checkpoint therefore ends with the very weights of one that was not.
"""

import json
import math
import time

import numpy as np
import torch
from tqdm import tqdm

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import write_stamp
from asvtk.metrics.eer import compute_eer
from asvtk.models import build_detector
from asvtk.training.checkpoint import load_training, save_detector, save_training
from asvtk.training.data import UtteranceDataset, draw_order, load_batches
from asvtk.training.experiment import Experiment, ExperimentConfig, TrainingConfig

__all__ = ["train"]


def train(
    experiment: Experiment,
    config: ExperimentConfig,
    training_set: UtteranceDataset,
    dev_set: UtteranceDataset,
    device: str,
) -> dict:
    """Train to the last epoch, going on from the last checkpoint if there is one.

    Args:
        experiment: folder that takes checkpoints and log.
        config: what to train, and how.
        training_set, dev_set: features; the epoch with the lowest EER on dev is ``best``.
        device: ``cpu`` or ``cuda``.

    Returns:
        The progress: epochs done, and EER and epoch of the best.

    Raises:
        AsvtkError: loss, gradient or scores are not finite, or no checkpoint can be written.
    """
    settings = config.training
    torch.manual_seed(config.seed)
    detector = build_detector(config.model, config.loss, *training_set.feature_shape)
    training_set.serve(detector.model)
    dev_set.serve(detector.model)
    _fit_mvn(detector, training_set, settings.normalise_on)
    detector.to(device)
    optimiser = _build_optimiser(detector, settings)

    for leftover in experiment.checkpoints.glob(".*.tmp"):  # of a writer that was killed
        leftover.unlink()
    progress = load_training(experiment.checkpoints, detector, optimiser)
    if progress is None:
        progress = {"epoch": 0, "best_epoch": 0, "best_dev_eer": math.inf, "best_dev_loss": math.inf}
    _cut_log(experiment, progress["epoch"])
    _say_start(config, detector, training_set, dev_set, progress, device)

    for epoch in range(progress["epoch"] + 1, settings.epochs + 1):
        started = time.monotonic()
        loss = _train_epoch(detector, optimiser, training_set, config, epoch, device)
        dev_eer, dev_loss = _evaluate(detector, dev_set, settings.batch_size, device)
        progress["epoch"] = epoch
        # Small dev sets know few values of EER: among equals the lower loss is better.
        if (dev_eer, dev_loss) < (progress["best_dev_eer"], progress["best_dev_loss"]):
            progress.update(best_epoch=epoch, best_dev_eer=dev_eer, best_dev_loss=dev_loss)
            save_detector(experiment.checkpoints / "best.safetensors", detector, progress)
        _log_epoch(experiment, progress, loss, dev_eer, dev_loss, time.monotonic() - started)
        save_training(experiment.checkpoints, detector, optimiser, progress)
    write_stamp(experiment.done, progress)
    return progress


def _build_optimiser(detector, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW. Biases, gains, the class vector and the scan's own A and D are not pulled to zero."""
    named = list(detector.named_parameters())
    decayed = [parameter for name, parameter in named if parameter.ndim > 1 and not name.endswith("A_log")]
    spared = [parameter for name, parameter in named if parameter.ndim <= 1 or name.endswith("A_log")]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr)


def _fit_mvn(detector, training_set: UtteranceDataset, count: int) -> None:
    """Input statistics from ``count`` training utterances, evenly spread."""
    if not detector.model.uses_features:
        return
    chosen = np.unique(np.linspace(0, len(training_set) - 1, min(count, len(training_set))).astype(int))
    if len(chosen):
        detector.model.mvn.fit(torch.from_numpy(training_set.features(int(index))) for index in chosen)


def _train_epoch(
    detector, optimiser, training_set, config: ExperimentConfig, epoch: int, device: str
) -> float:
    """One pass; returns the mean loss."""
    settings = config.training
    detector.train()
    epoch_seed = config.seed * 100_003 + epoch
    torch.manual_seed(epoch_seed)  # dropout
    training_set.epoch_seed = epoch_seed
    order = draw_order(training_set.bonafide, epoch_seed, settings.balance)
    steps = math.ceil(len(order) / settings.batch_size)
    total = 0.0
    bar = tqdm(total=steps, desc=f"epoch {epoch}/{settings.epochs}", unit="batch", disable=None, leave=False)
    batches = load_batches(training_set, order, settings.batch_size, device)
    for step, (inputs, bonafide) in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(settings, epoch - 1 + step / steps)
        loss = detector(inputs, bonafide)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(detector.parameters(), settings.clip or math.inf)
        if not torch.isfinite(loss + norm):
            begin = step * settings.batch_size
            utterances = [training_set.utterances[i] for i in order[begin : begin + settings.batch_size]]
            raise AsvtkError(
                f"epoch {epoch}, batch {step + 1}: loss {loss.item()}, norm of the gradient {norm.item()}; "
                f"utterances {' '.join(utterances)}. Lower training.lr; the checkpoint of the epoch before "
                "is kept"
            )
        optimiser.step()
        total += loss.item() * len(bonafide)
        bar.update()
    bar.close()
    return total / len(order)


def _learning_rate(settings: TrainingConfig, epochs_done: float) -> float:
    """Linear warm-up, then half a cosine; a function of progress alone, so it needs no state."""
    if epochs_done < settings.warmup_epochs:
        return settings.lr * max(epochs_done / settings.warmup_epochs, 1e-2)
    share = (epochs_done - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.lr_end + (settings.lr - settings.lr_end) * (1 + math.cos(math.pi * share)) / 2


def _evaluate(detector, dev_set: UtteranceDataset, batch_size: int, device: str) -> tuple[float, float]:
    """EER (in 0 ... 1) and loss on dev."""
    detector.eval()
    scores, losses = [], []
    with torch.inference_mode():
        for inputs, bonafide in load_batches(dev_set, list(range(len(dev_set))), batch_size, device):
            embedding = detector.model(inputs).embedding
            scores.append(detector.loss.score(embedding).cpu())
            losses.append(detector.loss(embedding, bonafide).item() * len(bonafide))
    scores = torch.cat(scores).double().numpy()
    if not np.isfinite(scores).all():
        utterances = [dev_set.utterances[i] for i in np.flatnonzero(~np.isfinite(scores))]
        raise AsvtkError(
            f"dev scores are not finite for {listing(utterances)}. Lower training.lr; the checkpoint of the "
            "epoch before is kept"
        )
    bonafide = dev_set.bonafide.numpy()
    return compute_eer(scores[bonafide], scores[~bonafide])[0], sum(losses) / len(dev_set)


def _cut_log(experiment: Experiment, epoch: int) -> None:
    """Drop what the log says of epochs after the checkpoint: they are going to be repeated."""
    lines = experiment.log.read_text().splitlines(keepends=True) if experiment.log.exists() else []
    write_text(experiment.log, "".join(line for line in lines if json.loads(line)["epoch"] <= epoch))


def _log_epoch(experiment: Experiment, progress, loss, dev_eer, dev_loss, seconds) -> None:
    record = {
        "epoch": progress["epoch"],
        "loss": loss,
        "dev_eer_percent": 100 * dev_eer,
        "dev_loss": dev_loss,
        "best_epoch": progress["best_epoch"],
        "seconds": round(seconds, 2),
    }
    with open(experiment.log, "a") as stream:
        stream.write(json.dumps(record) + "\n")
    mark = "  * best" if progress["best_epoch"] == progress["epoch"] else ""
    print(
        f"epoch {progress['epoch']:>3}  loss {loss:.4f}  dev loss {dev_loss:.4f}  "
        f"dev EER {100 * dev_eer:.3f} %  {seconds:.1f} s{mark}",
        flush=True,
    )


def _say_start(config, detector, training_set, dev_set, progress, device: str) -> None:
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    print(f"{config.model.name}: {parameters:,} parameters on {device}, seed {config.seed}")
    print(f"training on {len(training_set)} utterances, choosing on {len(dev_set)}")
    if progress["epoch"]:
        print(f"going on after epoch {progress['epoch']}")
