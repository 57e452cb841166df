"""What the service counts and times, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one service, in a registry of their own.

    Attributes:
        waiting: images in the queue.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        said = "Seconds from a request's headers to its response."
        self._requests = Counter("tapetum_requests", "Requests, by path and status.", ["path", "status"], registry=own)
        self._seconds = Histogram("tapetum_request_seconds", said, ["path"], buckets=_SECONDS, registry=own)
        self._images = Counter("tapetum_images", "Images asked about, by status of the answer.", ["status"], registry=own)
        self._batches = Histogram("tapetum_batch_images", "Images answered at once.", buckets=_IMAGES, registry=own)
        self._batch_seconds = Histogram("tapetum_batch_seconds", "Seconds that a batch took.", buckets=_SECONDS, registry=own)
        self.waiting = Gauge("tapetum_waiting_images", "Images that wait.", registry=own)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a response."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def images(self, answered: int, missing: int) -> None:
        """Count the images of a request."""
        self._images.labels("ok").inc(answered)
        self._images.labels("missing").inc(missing)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._batches.observe(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)
