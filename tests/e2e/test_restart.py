"""A run killed in any component completes when it is started again, with the same record set."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.local.run_directory import LOCK_FILE
from pipeline.metadata.lineage import latest_nodes, open_store
from tests.e2e.conftest import TINY, run_tiny

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

VICTIMS = (
    "CatalogueGen",
    "CaseExampleGen",
    "StatisticsGen",
    "Transform",
    "Trainer",
    "Evaluator",
    "Pusher",
    "ReportGen",
)


def start(run, data):
    command = [sys.executable, "-m", "cli.app", "run", "cmmd_demo", "--data", str(data), "--to", str(run)]
    overrides = [part for item in TINY for part in ("--set", item)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        [*command, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def kill_in(component, run, data):
    """Starts the run and kills it, with all its children, as soon as the component has begun."""
    process = start(run, data)
    log = run / "run.log"
    begun = len(log.read_text()) if log.exists() else 0
    pattern = re.compile(rf"Component {component} is running")
    while process.poll() is None:
        if log.exists() and pattern.search(log.read_text()[begun:]):
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.stdout.read()


def record_set(run):
    import tensorflow as tf

    uri = (
        latest_nodes(open_store(run / "metadata.sqlite"), "cmmd-demo")["CaseExampleGen"]
        .outputs["examples"][0]
        .uri
    )
    files = sorted(Path(uri).glob("Split-*/*"))
    return {
        (file.parent.name, hashlib.sha256(record).hexdigest())
        for file in files
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    }


@pytest.mark.parametrize(
    "victims",
    [
        ("CaseExampleGen", "Trainer"),
        pytest.param(VICTIMS, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
    ids=["two", "each"],
)
def test_a_run_killed_in_its_components_completes_with_the_same_records(run_copy, tiny_run, victims):
    for component in victims:
        kill_in(component, run_copy.run, run_copy.data)
    process = start(run_copy.run, run_copy.data)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    # Another test may have run the shared one with other settings since.
    run_tiny(tiny_run.run, tiny_run.data)
    assert record_set(run_copy.run) == record_set(tiny_run.run)


def test_starts_at_once_say_that_they_wait_and_then_finish_one_after_the_other(tiny_run):
    # The first holder is this test: how long a real run holds the lock depends on how much of it is cached.
    # Here it is all of it.
    with FileLock(tiny_run.run / LOCK_FILE):
        processes = [start(tiny_run.run, tiny_run.data) for _ in range(2)]
        for process in processes:
            assert "waiting for it to end" in process.stdout.readline()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
