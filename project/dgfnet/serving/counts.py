"""Counts of a server for Prometheus: levels, risks, novelty and times of answers; nothing of a patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from dgfnet.bundle.watch import NOVELTY_BOUNDS, RISK_BOUNDS
from dgfnet.vocabulary import MODALITIES

PATHS = (
    *("/", "/invocations", "/explain", "/preview", "/metrics", "/ping", "/health", "/ready", "/version"),
    *("/pacs/studies", "/pacs/series", "/pacs/instances", "/pacs/preview", "/pacs/invocations"),
    *("/pacs/explain", "/pacs/send"),
)
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)


class Counts:
    """Counts since the server was started.

    dgfnet_answers_total{variant, level, decision}, dgfnet_risk{variant} (calibrated risks, not those of cases
    without an answer), dgfnet_novelty{modality} (limits of caution), dgfnet_requests_total{path, status},
    dgfnet_request_seconds{path}, dgfnet_model_info{model, version}.
    """

    kind = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, model: str, version: str) -> None:
        self.registry = own = CollectorRegistry()
        Info("dgfnet_model", "Model that answers.", registry=own).info({"model": model, "version": version})
        self.answers = Counter(
            "dgfnet_answers", "Cases answered.", ("variant", "level", "decision"), registry=own
        )
        self.risk = Histogram(
            "dgfnet_risk", "Calibrated risks.", ("variant",), registry=own, buckets=RISK_BOUNDS
        )
        self.novelty = Histogram(
            "dgfnet_novelty",
            "Distance of pictures from the training cohort, in limits of caution.",
            ("modality",),
            registry=own,
            buckets=NOVELTY_BOUNDS,
        )
        self.requests = Counter("dgfnet_requests", "Requests.", ("path", "status"), registry=own)
        self.seconds = Histogram(
            "dgfnet_request_seconds", "Time of requests.", ("path",), registry=own, buckets=SECONDS
        )

    def answered(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Counts answers, records of `serving.records.answer_records`."""
        for row in rows:
            decision = "none" if row["decision"] is None else ("negative", "positive")[int(row["decision"])]
            self.answers.labels(row["variant"], row["level"], decision).inc()
            if row["calibrated"] is not None:
                self.risk.labels(row["variant"]).observe(row["calibrated"])
            for modality in MODALITIES:
                if row[f"{modality}_novelty"] is not None:
                    self.novelty.labels(modality).observe(row[f"{modality}_novelty"])

    def requested(self, path: str, status: int, seconds: float) -> None:
        """Counts a request; paths that are not the server's are one."""
        known = path if path in PATHS else "other"
        self.requests.labels(known, status).inc()
        self.seconds.labels(known).observe(seconds)

    def text(self) -> bytes:
        """Returns all counts as Prometheus reads them."""
        return generate_latest(self.registry)
