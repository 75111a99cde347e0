"""Windows of several recordings in common batches."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from asvtk.frontends.crop import Crop
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.inference.shared import SharedBatches
from asvtk.inference.torch_detector import TorchDetector
from asvtk.io.errors import AsvtkError
from asvtk.models import assemble
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig

RNG = np.random.default_rng(0)


def windows(*values: float) -> list[np.ndarray]:
    return [np.full(4, value, np.float32) for value in values]


def means(batch):
    scores = np.array([window.mean() for window in batch], np.float64)
    return scores, np.stack([scores, -scores], axis=1)


def test_what_waits_goes_into_the_next_batch_and_no_batch_waits_to_be_full():
    begun, go, sizes = threading.Event(), threading.Event(), []

    def score(batch):
        begun.set()
        go.wait(10)
        return means(batch)

    shared = SharedBatches(score, most=6, observe=sizes.append)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(shared, windows(9))
        assert begun.wait(10)
        others = [pool.submit(shared, windows(k, k + 0.5)) for k in range(8)]
        while shared._requests.qsize() < 8:
            pass
        go.set()
        scores, embeddings = first.result()
        assert scores.tolist() == [9] and embeddings.tolist() == [[9, -9]]
        for k, other in enumerate(others):
            assert other.result()[0].tolist() == [k, k + 0.5]
    assert sizes == [1, 6, 6, 4]
    shared.close()
    assert not any(worker.is_alive() for worker in shared._workers)


def test_a_fault_stays_with_its_recording():
    begun, go = threading.Event(), threading.Event()

    def score(batch):
        begun.set()
        go.wait(10)
        if any(window[0] < 0 for window in batch):
            raise AsvtkError("a score is not finite")
        return means(batch)

    shared = SharedBatches(score)
    with ThreadPoolExecutor(4) as pool:
        pool.submit(shared, windows(1))
        assert begun.wait(10)
        good, bad, also_good = (pool.submit(shared, windows(value)) for value in (2, -1, 3))
        while shared._requests.qsize() < 3:
            pass
        go.set()
        assert (good.result()[0], also_good.result()[0]) == (2, 3)
        with pytest.raises(AsvtkError, match="not finite"):
            bad.result()
    shared.close()


def test_a_window_scores_in_company_as_alone_whatever_its_length():
    torch.manual_seed(0)
    frontend = Lfcc(LfccConfig(crop=Crop(samples=None)))
    made = assemble(frontend, MoeMambaConfig(d_model=16, blocks=1, d_state=4, d_expert=16), OcSoftmaxConfig())
    detector = TorchDetector.of(made.eval())
    clips = [0.1 * RNG.normal(size=n).astype(np.float32) for n in (64_600, 16_000, 40_000, 64_600, 9_000)]
    alone = [detector.score_windows([clip])[0][0] for clip in clips]
    detector.share_batches(most=16)
    with ThreadPoolExecutor(20) as pool:
        extended = [detector.extension(len(clip))(0, clip) for clip in clips]
        together = list(pool.map(lambda k: detector.shared([clips[k % 5]])[0][0], range(60)))
        mixed = list(pool.map(lambda k: detector.shared([(clips, extended)[k % 2][k % 5]])[0][0], range(60)))
    assert together == pytest.approx(alone * 12, abs=2e-6)
    assert mixed == pytest.approx(alone * 12, abs=2e-6)
    both = detector.score_windows([clips[0], extended[1], clips[2], extended[3]])[0]
    assert both == pytest.approx(alone[:4], abs=2e-6)
    detector.close_batches()
