"""What Prometheus is told, besides BentoML's own request metrics.

Imported inside the worker only: prometheus_client must see the multiprocess folder that BentoML sets there.
"""

from collections.abc import Callable, Collection, Mapping

from prometheus_client import Counter, Gauge, Histogram

from components.contracts import Done
from serving.champion import Served

SECONDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Metrics:
    """One per process: prometheus_client refuses a name twice.

    Args:
        paths: that are counted by their own name; the others as "other".
    """

    def __init__(self, paths: Collection[str] = ()) -> None:
        self.paths = frozenset(paths)
        self.requests = Counter("kyara_requests", "Requests by path and answer.", ["path", "status"])
        self.latency = Histogram("kyara_request_seconds", "From request to answer.", ["path"], buckets=SECONDS)
        self.seconds = Histogram("kyara_generation_seconds", "From arrival to picture.", ["model"], buckets=SECONDS)
        self.steps = Counter("kyara_steps", "Denoising steps of answers.", ["model"])
        self.events = Counter(
            "kyara_engine_events", "What happened in the generator: cache hits and misses, steps.", ["model", "event"]
        )
        self.batch = Histogram(
            "kyara_batch_size", "Steps that shared a batch, mean since the answer before.", ["model"], buckets=SIZES
        )
        self.depth = Gauge("kyara_queue_depth", "Requests in work or waiting.", multiprocess_mode="livesum")
        self.busy = Gauge("kyara_queue_busy", "Requests in work.", multiprocess_mode="livesum")
        self.tasks = Gauge("kyara_tasks", "Tasks that are kept, ended ones too.", multiprocess_mode="livesum")
        who = ["name", "version", "digest", "engine"]
        self.model = Gauge("kyara_model_info", "1 for the served model.", who, multiprocess_mode="livemostrecent")
        self._shown: tuple[str, ...] | None = None
        self._before: dict[str, Mapping[str, int]] = {}

    def watch(self, depth: Callable[[], int], busy: Callable[[], int], tasks: Callable[[], int]) -> None:
        """Where the gauges come from; see `refresh`."""
        self._gauges = ((self.depth, depth), (self.busy, busy), (self.tasks, tasks))
        self.refresh()

    def refresh(self) -> None:
        """Write the gauges down; a process's values lie in files, so nobody asks for them."""
        for gauge, value in self._gauges:
            gauge.set(value())

    def ended(self, path: str, status: int, seconds: float) -> None:
        """A request was answered, or its client left (499)."""
        known = path if path in self.paths else "other"
        self.requests.labels(known, str(status)).inc()
        self.latency.labels(known).observe(seconds)
        self.refresh()

    def answered(self, served: Served, done: Done, waited: float) -> None:
        """A generation came to its end, `waited` seconds after it arrived."""
        self.seconds.labels(served.label).observe(waited)
        self.steps.labels(served.label).inc(int(done.metadata.get("steps", 0)))
        self._count(served)

    def _count(self, served: Served) -> None:
        """The generator's counters, as far as they have grown."""
        now = dict(served.generator.counters)
        before = self._before.get(served.label, {})
        grown = {name: max(0, value - before.get(name, 0)) for name, value in now.items()}
        self._before = {served.label: now}
        for name, more in grown.items():
            self.events.labels(served.label, name).inc(more)
        if grown.get("batches"):
            self.batch.labels(served.label).observe(grown["steps"] / grown["batches"])

    def serves(self, served: Served) -> None:
        """Another model answers from now on."""
        if self._shown is not None:
            self.model.labels(*self._shown).set(0)
        self._shown = tuple(str(served.card.get(name, "")) for name in ("name", "version", "digest", "engine"))
        self.model.labels(*self._shown).set(1)
