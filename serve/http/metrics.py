"""What Prometheus reads at /metrics: requests, errors, where the time goes, batches, adapters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from serve.http.exchange import CURRENT, Exchange

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "GRPC"})
GAUGES = {
    "adapters": "Adapters in memory.",
    "bytes": "Bytes of the adapters in memory.",
    "promoted": "Adapters that have a graph of their own.",
}
COUNTERS = {
    "loads": "Adapters read from disk.",
    "evictions": "Adapters that left memory for others.",
    "swaps": "Times that the adapter of a batch wasn't the one before.",
}
"""Keys of `Runtime.stats()` that are told, as svfit_adapter_<key>."""


class PrometheusMetrics:
    """The counters of one server, in a registry of its own; a `serve.service.Metrics`."""

    def __init__(self, most_adapters: int = 100) -> None:
        """Of the adapters asked, the first `most_adapters` are told by name and the others together as "other"."""
        self.registry = CollectorRegistry()
        self._most, self._names = most_adapters, set[str]()
        registry = self.registry
        ProcessCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"svfit_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Histogram:
            return Histogram(f"svfit_{name}", about, labels, registry=registry, buckets=buckets)

        self._requests = counter("requests", "HTTP requests answered.", "method", "route", "status")
        self._seconds = histogram("request_seconds", "From a request's head to its answer.", "route")
        self._errors = counter("errors", "Requests that failed, by the kind of error.", "kind")
        self._queue = histogram("queue_seconds", "A request's time in the queue.")
        self._compute = histogram("compute_seconds", "A request's time in runs.")
        self._rows = counter("rows", "Rows answered.", "adapter")
        self._tokens = counter("tokens", "Tokens answered, padding not counted.")
        self._batch_rows = histogram("batch_rows", "Rows of a batch.", buckets=ROWS)
        self._batch_seconds = histogram("batch_seconds", "Seconds of a batch's run.")
        self._waiting = Gauge("svfit_queue_rows", "Rows that wait.", registry=registry)
        self._ready = Gauge("svfit_ready", "1 while the server takes requests.", registry=registry)
        self._service: Any = None
        self.registry.register(_Adapters(self))
        self.registry.register(_Release(self))

    def watch(self, service: Any) -> None:
        """Read queue, readiness and adapters from this service at each scrape."""
        self._service = service
        self._waiting.set_function(lambda: service.waiting)
        self._ready.set_function(lambda: float(service.state == "ready"))

    def stats(self) -> Mapping[str, Any]:
        """The runtime's numbers; none while it loads."""
        service = self._service
        return {} if service is None or not service.loaded else service.runtime.stats()

    def release(self) -> str | None:
        """The release that answers; None without a site."""
        site = None if self._service is None else self._service.site
        entry = None if site is None else site.history.now
        return None if entry is None else str(entry.release)

    def answered(self, adapters: Mapping[str, int], tokens: int, queue_seconds: float, compute_seconds: float) -> None:
        """As `serve.service.Metrics`."""
        for tag, rows in adapters.items():
            self._rows.labels(self._label(tag.partition("@")[0])).inc(rows)
        self._tokens.inc(tokens)
        self._queue.observe(queue_seconds)
        self._compute.observe(compute_seconds)
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.used(adapters)

    def failed(self, kind: str) -> None:
        """As `serve.service.Metrics`."""
        self._errors.labels(kind).inc()

    def batch(self, rows: int, tokens: int, seconds: float, queue_seconds: list[float]) -> None:
        """One batch; a scheduler's `on_batch`."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def request(self, exchange: Exchange, route: str) -> None:
        """One answered request; `route` is its template."""
        method = exchange.method if exchange.method in METHODS else OTHER
        self._requests.labels(method, route, str(exchange.status)).inc()
        self._seconds.labels(route).observe(time.perf_counter() - exchange.began)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def _label(self, name: str) -> str:
        if name in self._names:
            return name
        if len(self._names) < self._most:
            self._names.add(name)
            return name
        return OTHER


class _Adapters:
    """Numbers that the runtime keeps itself."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        stats = self._metrics.stats()
        for key, about in GAUGES.items():
            if key in stats:
                yield GaugeMetricFamily(f"svfit_adapter_{key}", about, value=stats[key])
        for key, about in COUNTERS.items():
            if key in stats:
                yield CounterMetricFamily(f"svfit_adapter_{key}", about, value=stats[key])


class _Release:
    """Which release answers, as a label."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        release = self._metrics.release()
        if release is not None:
            family = GaugeMetricFamily("svfit_release_info", "The site's current release.", labels=["release"])
            family.add_metric([release], 1.0)
            yield family


def routes(metrics: PrometheusMetrics) -> APIRouter:
    """GET /metrics."""
    router = APIRouter(tags=["operation"])

    @router.get("/metrics", summary="Numbers for Prometheus.", response_class=Response)
    def read_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router
