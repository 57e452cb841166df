"""Requests of many callers, answered in batches by one thread: while one batch is computed, the next one gathers. The queue is bounded."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tapetum.core.errors import TapetumError
from tapetum.core.requests import ImageAnswers, ImageRequest
from tapetum.core.words import plural
from tapetum.show.service.limits import Limits, Refusal
from tapetum.show.service.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Waiting:
    request: ImageRequest
    answer: asyncio.Future[ImageAnswers]


class Batcher:
    """Answers requests one batch after another.

    Args:
        answer: the answers to some requests, in their order; called in one thread.
        limits: of the queue, the batch and the time.
        metrics: told of batches and of the queue.
    """

    def __init__(self, answer: Callable[[Sequence[ImageRequest]], list[ImageAnswers]], limits: Limits, metrics: Metrics) -> None:
        self._answer, self._limits, self._metrics = answer, limits, metrics
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rate = 0.0  # images a second, lately
        self.stopping = False

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return sum(len(one.request) for one in self._queue)

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return not self.stopping and self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to answer, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Answer what waits, and end."""
        self.stopping = True
        self._some.set()
        if self._task is not None:
            await self._task
        self._pool.shutdown()

    async def ask(self, request: ImageRequest) -> ImageAnswers:
        """Return the answers to a request.

        Raises:
            Refusal: the queue is full, the deadline passed, or the service stops.
        """
        if self.stopping:
            raise Refusal(503, "the service is stopping", 10)
        waiting = self.waiting
        if waiting + len(request) > self._limits.waiting:
            raise Refusal(429, f"{plural(waiting, 'image')} wait already; at most {self._limits.waiting} may", self._seconds(waiting))
        entry = _Waiting(request, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        self._metrics.waiting.set(waiting + len(request))
        self._some.set()
        try:
            async with asyncio.timeout(self._limits.deadline):
                return await entry.answer
        except TimeoutError:
            raise Refusal(503, f"no answer within {self._limits.deadline:g} seconds", self._seconds(self.waiting)) from None

    async def alone(self, work: Callable[[], Any]) -> Any:
        """Return what a function returns, run between two batches; the deadline holds."""
        try:
            async with asyncio.timeout(self._limits.deadline):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise Refusal(503, f"no answer within {self._limits.deadline:g} seconds", self._seconds(self.waiting)) from None

    def _seconds(self, images: int) -> float:
        """Return in how many seconds so many images are probably answered."""
        return images / self._rate if self._rate else 1.0

    async def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                await self._work(batch)
            elif self.stopping:
                return
            else:
                self._some.clear()
                await self._some.wait()

    def _take(self) -> list[_Waiting]:
        """Return the next requests, at most a batch; those that nobody waits for any longer are dropped."""
        batch: list[_Waiting] = []
        images = 0
        while self._queue and (not batch or images + len(self._queue[0].request) <= self._limits.batch):
            entry = self._queue.popleft()
            if not entry.answer.done():  # a passed deadline cancels it
                batch.append(entry)
                images += len(entry.request)
        self._metrics.waiting.set(self.waiting)
        return batch

    async def _work(self, batch: Sequence[_Waiting]) -> None:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        found = await loop.run_in_executor(self._pool, self._answers, [one.request for one in batch])
        images, seconds = sum(len(one.request) for one in batch), time.perf_counter() - began
        self._rate = images / seconds if not self._rate else 0.8 * self._rate + 0.2 * images / seconds
        self._metrics.batch(images, seconds)
        for one, result in zip(batch, found, strict=True):
            with contextlib.suppress(asyncio.InvalidStateError):
                if isinstance(result, Exception):
                    one.answer.set_exception(result)
                else:
                    one.answer.set_result(result)

    def _answers(self, requests: Sequence[ImageRequest]) -> list[ImageAnswers | Exception]:
        """Return an answer or an error for each request; where a batch fails, each is tried by itself, so that one spoils no other."""
        try:
            return list(self._answer(requests))
        except Exception as error:
            if len(requests) > 1:
                return [self._answers([one])[0] for one in requests]
            if isinstance(error, TapetumError):
                return [Refusal(422, error.text)]
            logger.exception("a request could not be answered")
            return [Refusal(500, f"the answer failed ({type(error).__name__}); the service's log has more")]
