"""Fixtures for all tests. TensorFlow is not imported here: the unit tests of the core run without it."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# Examples are not judged by how long they take: that says how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's folder of real data.

    It is not part of the repository, so tests that need it are skipped without it.
    """
    folder = Path(os.environ.get("MEDIMG_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data are not here ({folder.name} of the shared folder; set MEDIMG_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_tools() -> Path:
    """The team's folder of scripts that write small odd data; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MEDIMG_SHARED", REPOSITORY.parent / "shared")) / "tools"
    if not folder.is_dir():
        pytest.skip(f"the scripts are not here ({folder.name} of the shared folder; set MEDIMG_SHARED)")
    return folder
