"""Hypothesis times each example; on a busy machine that fails tests that are right."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
