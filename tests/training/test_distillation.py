"""Distillation: targets by hand, losses of probabilities, and a student trained on a teacher's scores."""

import math

import pytest
import torch
from tiny_training import prepare

from asvtk.bin.main import main
from asvtk.inference.calibration import DetectorCalibration
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.metrics.calibration import Calibration, DevStatistics
from asvtk.nn.losses import OcSoftmax, OcSoftmaxConfig, WeightedCrossEntropy, WeightedCrossEntropyConfig
from asvtk.training.distillation import DistillationConfig, soft_targets


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The tiny corpus with its features, and what a student reads of a teacher, whose LLR is 2 score - 1."""
    folder = tmp_path_factory.mktemp("tiny")
    prepare(folder)
    data = DataDirectory.read(folder / "data" / "train")
    teacher = folder / "teacher"
    (teacher / "scores").mkdir(parents=True)
    scores = [0.25 * number for number in range(len(data.utterances))]
    labels = [data.label[utterance] for utterance in data.utterances]
    attacks = ["-"] * len(scores)
    write_scores(teacher / "scores" / "train.txt", data.utterances, attacks, labels, scores)
    rates = dict.fromkeys(("eer_percent", "min_dcf", "act_dcf", "cllr", "min_cllr"), 0.5)
    dev = DevStatistics(trials="", n_bonafide=1, n_spoof=1, **rates)
    of_dev = {"systems": ("teacher",), "negated": (False,), "prior": 0.5, "dev": dev}
    affine = Calibration(weights=(2.0,), offset=-1.0, **of_dev)
    DetectorCalibration(window=affine, recording=affine).save(teacher / "calibration.json")
    return folder, data, teacher


def test_targets_lie_between_label_and_teacher(trained):
    _, data, teacher = trained
    targets = soft_targets(DistillationConfig(str(teacher), weight=0.25, temperature=2.0), [data])
    assert list(targets) == list(data.label)
    for number, utterance in enumerate(data.utterances):
        label = data.label[utterance] == "bonafide"
        llr = 2 * 0.25 * number - 1
        expected = 0.75 * label + 0.25 / (1 + math.exp(-llr / 2))
        assert targets[utterance] == pytest.approx(expected, rel=1e-6)


def test_a_teacher_that_did_not_score_all_is_named_with_what_to_do(trained, tmp_path):
    _, data, teacher = trained
    config = DistillationConfig(str(tmp_path))
    with pytest.raises(AsvtkError, match=f"{tmp_path}/calibration.json"):
        soft_targets(config, [data])
    (tmp_path / "calibration.json").write_bytes((teacher / "calibration.json").read_bytes())
    with pytest.raises(AsvtkError, match="scores/train.txt: no such file.*--test-sets train --stage 2"):
        soft_targets(config, [data])
    lines = (teacher / "scores" / "train.txt").read_text().splitlines(keepends=True)
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "train.txt").write_text("".join(lines[1:]))
    with pytest.raises(AsvtkError, match=f"no score of {data.utterances[0]}; run the teacher's stage 4"):
        soft_targets(config, [data])


@pytest.mark.parametrize(
    "loss",
    [
        OcSoftmax(OcSoftmaxConfig(), 4),
        WeightedCrossEntropy(WeightedCrossEntropyConfig(bonafide_weight=0.8, spoof_weight=0.2), 4),
    ],
    ids=["oc_softmax", "wce"],
)
def test_the_loss_of_a_probability_is_that_of_a_label_where_it_is_sure(loss):
    torch.manual_seed(0)
    embedding, labels = torch.randn(6, 4), torch.tensor([True, False, True, False, False, True])
    torch.testing.assert_close(loss(embedding, labels.float()), loss(embedding, labels))
    one = embedding[:1]
    real, fake = (loss(one, torch.tensor([label])) for label in (True, False))
    half = loss(one, torch.tensor([0.5]))
    weights = getattr(loss, "weights", torch.tensor([1.0, 1.0]))  # of spoof, bona fide
    torch.testing.assert_close(half, (weights[1] * real + weights[0] * fake) / weights.sum())


def test_a_student_learns_from_its_teacher_and_from_no_other(trained, tmp_path, capsys):
    folder, data, teacher = trained
    words = ["train", "--config", folder / "c.yaml", "--dump", folder / "dump"]
    words += ["--train-data", folder / "data/train", "--dev-data", folder / "data/dev"]

    def student(exp, *overrides):
        told = [
            *words,
            "--exp",
            tmp_path / exp,
            "--override",
            "training.epochs=1",
            "training.warmup_epochs=0",
        ]
        told += overrides
        return main(list(map(str, told)))

    def weights(exp):
        return (tmp_path / exp / "checkpoints" / "best.safetensors").read_bytes()

    distilled = f"distillation={{teacher: {teacher}, weight: 1.0}}"
    assert student("alone") == student("taught", distilled) == student("again", distilled) == 0
    assert weights("taught") == weights("again") != weights("alone")
    # What the teacher said is part of what the experiment is.
    before = (teacher / "scores" / "train.txt").read_text()
    try:
        (teacher / "scores" / "train.txt").write_text(before.replace(" 0.25\n", " 0.75\n"))
        assert student("taught", distilled) == 1
        assert "teacher" in capsys.readouterr().err
    finally:
        (teacher / "scores" / "train.txt").write_text(before)
    logistic = ["model={name: logistic}", "loss={name: logit}"]
    assert student("solved", distilled, *logistic) == 1
    assert "is solved for from labels" in capsys.readouterr().err
