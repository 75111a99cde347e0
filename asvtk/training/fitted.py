"""Training of back-ends that are solved for: checks of the configuration, and summaries of the epoch."""

from collections.abc import Callable

import torch
from torch import Tensor

from asvtk.io.errors import AsvtkError
from asvtk.models import Detector, FittedBackEnd
from asvtk.training import distributed
from asvtk.training.config import ExperimentConfig
from asvtk.training.dataloader import Loader
from asvtk.training.signals import StopRequest

__all__ = ["check_fit", "gather_summaries"]


def check_fit(detector: Detector, config: ExperimentConfig) -> None:
    """Refuse what cannot be where a back-end is solved for.

    Raises:
        AsvtkError: there are several epochs, or an average over steps; or something else is to be trained.
    """
    if not isinstance(detector.model, FittedBackEnd):
        return
    name, training = config.model.name, config.training
    if training.epochs != 1 or training.ema:
        raise AsvtkError(
            f"model {name}: is solved for in one epoch, without steps; set training.epochs to 1, "
            "training.warmup_epochs to 0, and leave training.ema out"
        )
    if config.distillation is not None:
        raise AsvtkError(f"model {name}: is solved for from labels; leave the section distillation out")
    others = [key for key, _ in detector.named_parameters() if not key.startswith("model.")]
    if others:
        raise AsvtkError(
            f"model {name}: is solved for by itself, and nothing would train {others[0]}; choose "
            "loss: {name: logit}, and a front-end of which nothing is trained"
        )


@torch.inference_mode()
def gather_summaries(
    detector: Detector,
    loader: Loader,
    order: list[int],
    batch_size: int,
    epoch_seed: int,
    windows: Callable[[int], list[int | None]],
    stop: StopRequest,
) -> Tensor | None:
    """What a ``FittedBackEnd`` wants to know of the utterances of an epoch; processes share the work.

    Args:
        detector: on the loader's device; it is left in evaluation mode.
        loader: of the training set.
        order: numbers of the utterances.
        batch_size: utterances at once.
        epoch_seed: as in ``UtteranceDataset.draw``.
        windows: how many batches -> the window of each, as there.
        stop: whether this process was asked to stop.

    Returns:
        (utterances, d_summary) in that order, on the CPU, the same in all processes; None: one of them was
        asked to stop.
    """
    detector.eval()
    own = distributed.share(order)
    batches = [own[begin : begin + batch_size] for begin in range(0, len(own), batch_size)]
    rows = []
    for inputs, _ in loader(batches, epoch_seed, windows(len(batches))):
        rows.extend(detector.model.summary(detector.heard(inputs)).float().cpu().numpy())
        if stop.signal is not None and distributed.size() == 1:
            break
    if any(distributed.gather_objects(stop.signal is not None)):
        return None
    rows = distributed.gather(rows, len(order))
    return torch.stack([torch.from_numpy(row) for row in rows])
