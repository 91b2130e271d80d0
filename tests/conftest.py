"""Fixtures for all tests. TensorFlow is not imported here: the unit tests of the core run without it."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's folder of real data.

    It is not part of the repository, so tests that need it are skipped without it.
    """
    folder = Path(os.environ.get("MEDIMG_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data are not here ({folder.name} of the shared folder; set MEDIMG_SHARED)")
    return folder
