"""Judging of uploads: admission, threads, deadlines; one model for all."""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from asvtk.inference.detection import Detection
from asvtk.inference.detector import DetectConfig, RecordingDetector
from asvtk.inference.speech import speech_probabilities
from asvtk.io.errors import AsvtkError
from asvtk.report.detection_page import detection_page
from asvtk.serve.config import Refusal, ServeConfig
from asvtk.serve.decoder import Decoder, DecoderTimeout, TooLong
from asvtk.serve.uploads import Upload

__all__ = ["Judge", "Place"]

_GIVEN_UP = "the client has gone"


class Place:
    """A place among recordings that are judged or wait: from before the upload until its thread is free."""

    def __init__(self, leave: Callable[[], None]):
        self._leave, self.judged = leave, None

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_) -> None:
        if self.judged is None:
            self._leave()


class Judge:
    """Judge of uploads.

    Args:
        detector: with common batches.
        config: the limits.
    """

    def __init__(self, detector: RecordingDetector, config: ServeConfig):
        self._detector, self._config = detector, config
        self._threads = ThreadPoolExecutor(config.parallel, thread_name_prefix="judge")
        self._decoders: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for _ in range(config.parallel):
            self._decoders.put(Decoder())
        self.places = 0  # that are taken
        self.running = 0
        self._seconds = 1.0  # that a recording takes, as the last ones did

    def warm_up(self) -> None:
        """Load and start what the first request would wait for."""
        import numpy as np

        noise = 0.1 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)
        speech_probabilities(noise)
        self._detector.score(noise)
        with self._decoder() as decoder:
            decoder.start()

    def place(self) -> Place:
        """Take a place for an upload that is about to come.

        Raises:
            Refusal: all are taken (429).
        """
        config = self._config
        if self.places >= config.parallel + config.queue:
            wait = math.ceil(self._seconds * self.places / config.parallel)
            raise Refusal(429, "busy: try again later", retry_after=min(max(1, wait), 600))
        self.places += 1
        return Place(self._leave)

    def _leave(self) -> None:
        self.places -= 1

    async def judge(
        self, place: Place, upload: Upload, how: DetectConfig, page: bool, gone: asyncio.Future
    ) -> tuple[Detection, str]:
        """What is said of an upload, and the page about it where one is asked for.

        Args:
            place: is kept until the thread that judges is free, also where the answer comes earlier.
            upload: is closed then.
            how: to judge.
            page: whether to make one.
            gone: is done when the client is no longer there.

        Raises:
            Refusal: it is no recording (422), too long (413), or took too long (504).
        """
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self._config.timeout
        given_up = threading.Event()
        place.judged = self._threads.submit(self._work, upload, how, page, deadline, given_up)
        place.judged.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free, upload))
        answer = asyncio.wrap_future(place.judged)
        answer.add_done_callback(_retrieve)
        await asyncio.wait({answer, gone}, timeout=self._config.timeout + 1, return_when="FIRST_COMPLETED")
        if not answer.done():
            given_up.set()
            if gone.done():
                raise Refusal(499, _GIVEN_UP)
            raise Refusal(504, f"not judged within {self._config.timeout:g} s, which is the limit")
        return answer.result()

    def _free(self, upload: Upload) -> None:
        upload.close()
        self._leave()

    def close(self) -> None:
        """End threads and processes; what runs is finished."""
        self._threads.shutdown()
        with contextlib.suppress(queue.Empty):
            while True:
                self._decoders.get_nowait().close()

    @contextlib.contextmanager
    def _decoder(self) -> Iterator[Decoder]:
        decoder = self._decoders.get()
        try:
            yield decoder
        finally:
            self._decoders.put(decoder)

    def _work(
        self, upload: Upload, how: DetectConfig, page: bool, deadline: float, given_up: threading.Event
    ) -> tuple[Detection, str]:
        began = time.monotonic()
        self.running += 1
        try:
            return self._detect(upload, how, page, deadline, given_up)
        except Refusal:
            raise
        except AsvtkError as fault:
            reason = str(fault).replace(upload.path, upload.name)
            status = 413 if isinstance(fault, TooLong) else 504 if isinstance(fault, DecoderTimeout) else 422
            raise Refusal(status, reason) from None
        finally:
            self.running -= 1
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)

    def _detect(self, upload, how, page, deadline, given_up) -> tuple[Detection, str]:
        channel = None if how.channel is None else how.channel - 1

        def check(*_) -> None:
            if given_up.is_set():
                raise Refusal(499, _GIVEN_UP)
            if time.monotonic() > deadline:
                raise Refusal(504, f"not judged within {self._config.timeout:g} s, which is the limit")

        def read(open_sink):
            with self._decoder() as decoder:
                return decoder.decode(upload.path, open_sink, channel, self._config.max_seconds, deadline)

        check()
        detection = self._detector.detect_read(upload.path, read, how, progress=check)
        detection = replace(detection, file=upload.name)
        if not page:
            return detection, ""
        check()
        # What was decoded once, apart from here, does no harm the second time.
        return detection, "".join(detection_page(detection, recordings=[upload.path], channel=how.channel))


def _retrieve(answer: Future) -> None:
    """Where nobody waits for an answer any more, its fault is no news."""
    if not answer.cancelled():
        answer.exception()
