"""One tiny pipeline run, shared by every test that needs one.

It lives in pytest's cache folder: the pipeline's own caching makes a second test session short, and notices
when code or data have changed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENTS = 60
TINY = (
    "split.ratios=0.5,0.2,0.3",
    "ingest.image_size=96,80",
    "model.image_size=64,52",
    "training.epochs=3",
    "examples.cases_per_shard=16",
    "evaluation.resamples=200",
    "evaluation.explained_cases=1",
    "evaluation.saliency_checked_cases=4",
    'evaluation.gates=[{"metric": "auc", "head": "malignancy", "lower_bound": -1.0}]',
    # A few steps teach it no more than which class is the more frequent.
    'evaluation.bless_without=["answered_classes"]',
)

# The flagship in small: its heads, slices, protocols and gates as they are, on images in which a lesion can
# still be seen.
FLAGSHIP_PATIENTS = 120
SMALL_FLAGSHIP = (
    "split.ratios=0.5,0.2,0.3",
    "ingest.image_size=96,80",
    "model.image_size=96,80",
    # Many steps: in a few dozen the averages of the batch normalisation are still those of the start, and the
    # score is luck.
    "training.epochs=8",
    "training.batch_size=4",
    "evaluation.resamples=200",
    "evaluation.explained_cases=1",
    "evaluation.saliency_checked_cases=4",
)


@dataclass(frozen=True)
class TinyRun:
    """A finished run and the data it was made from."""

    run: Path
    data: Path
    outcome: object


def run_tiny(run: Path, data: Path, *more: str):
    """Runs the demo's config in small; later overrides win."""
    from pipeline.config.overrides import load_config
    from pipeline.config.places import RunRequest
    from pipeline.local.run import run_config

    return run_config(load_config("cmmd_demo", overrides=[*TINY, *more]), RunRequest(data_root=data, to=run))


@pytest.fixture(scope="session")
def tiny_run(request) -> TinyRun:
    """A blessed and pushed run on a phantom of 60 patients."""
    from medimg.datasets import find_data_set
    from medimg.hashing import hash_code

    # Two processes of pytest-xdist must not share one run: each would change it under the other.
    home = request.config.cache.mkdir(f"tiny_run{os.environ.get('PYTEST_XDIST_WORKER', '')}")
    data, stamp = home / "data", home / "phantom.txt"
    want = f"{PATIENTS} {hash_code(['medimg.datasets.cmmd.phantom'])}"
    if not stamp.exists() or stamp.read_text() != want:
        shutil.rmtree(home, ignore_errors=True)
        find_data_set("cmmd").write_phantom(data, cases=PATIENTS, seed=1)
        stamp.write_text(want)
    return TinyRun(home / "run", data, run_tiny(home / "run", data))


@pytest.fixture
def run_copy(tiny_run, tmp_path) -> TinyRun:
    """The shared run's data copied aside, for tests that change them; the run itself stays where it is."""
    shutil.copytree(tiny_run.data, tmp_path / "data")
    return TinyRun(tmp_path / "run", tmp_path / "data", tiny_run.outcome)
