import shutil

import pytest

from medimg.reporting.bundle import derive
from medimg.sharing.packing import pack
from tests.unit.reporting.test_bundle import write_sources


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A report's folder with an image of a patient."""
    folder = write_sources(tmp_path_factory.mktemp("run") / "report", resamples=20)
    derive(folder)
    return folder


@pytest.fixture(scope="session")
def packed(report, tmp_path_factory):
    """Its bundle, which no test may change."""
    folder = tmp_path_factory.mktemp("packed") / "bundle"
    pack(report, to=folder)
    return folder


@pytest.fixture
def bundle(packed, tmp_path):
    """A copy of the bundle to spoil."""
    return shutil.copytree(packed, tmp_path / "bundle")
