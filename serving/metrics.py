"""What Prometheus is told, besides BentoML's own request metrics.

Imported inside the worker only: prometheus_client must see the multiprocess folder that BentoML sets there.
"""

from prometheus_client import Counter, Gauge, Histogram

from components.contracts import Done
from serving.champion import Served

SECONDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """One per process: prometheus_client refuses a name twice."""

    def __init__(self) -> None:
        self.requests = Counter("kyara_requests", "Generation requests that passed validation, by answer.", ["status"])
        self.seconds = Histogram("kyara_generation_seconds", "From arrival to picture.", ["model"], buckets=SECONDS)
        self.depth = Gauge("kyara_queue_depth", "Requests in work or waiting.", multiprocess_mode="livesum")
        who = ["name", "version", "digest"]
        self.model = Gauge("kyara_model_info", "1 for the served model.", who, multiprocess_mode="livemostrecent")
        self._shown: tuple[str, str, str] | None = None

    def answered(self, served: Served, done: Done, waited: float) -> None:
        """A generation came to its end; `waited` seconds after it arrived."""
        self.seconds.labels(served.label).observe(waited)

    def serves(self, served: Served) -> None:
        """Another model answers from now on."""
        if self._shown is not None:
            self.model.labels(*self._shown).set(0)
        self._shown = (str(served.card["name"]), str(served.card["version"]), str(served.card["digest"]))
        self.model.labels(*self._shown).set(1)
