"""What all tests share: how hard Hypothesis tries, and the clean-up after a killed run."""

import os

import pytest
from hypothesis import HealthCheck, settings

import reaper

#: Two busy cores are slow at times; a law is about values, not about time.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests with namespaces of their own are watched over from outside."""
    marked = any(item.get_closest_marker(m) for item in session.items for m in ("netns", "lab"))
    if marked and os.geteuid() == 0:
        session.config.stash[_REAPER] = reaper.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    watcher = config.stash.get(_REAPER, None)
    if watcher is not None:
        watcher.communicate(timeout=120)


_REAPER = pytest.StashKey()
