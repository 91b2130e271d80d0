"""The pipeline on Flink 1.19, embedded in Beam's job server.

It has the same records as on Beam's local runner, and the same figures.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam
import pytest

from components.case_example_gen import executor
from kubeflow.flink.local import REPOSITORY, Flink, embedded, fetch_jars, free_port, running, wait_for
from medimg.catalogue.tables import read_catalogue
from medimg.errors import MedimgError
from medimg.hashing import hash_tree
from pipeline.beam.flags import parse_beam
from pipeline.beam.probe import check_engine
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.local.run import run_config
from tests.e2e.conftest import TINY
from tests.e2e.runs import (
    aucs_of,
    evaluation_of,
    examples_of,
    figures_of,
    output_of,
    score_of_age_50,
    statistics_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# With a clinical input: without one, Transform has nothing to analyse and starts no Beam job.
CONFIG = load_config("cmmd_demo", overrides=[*TINY, "model.clinical_inputs=age_years"])


@pytest.fixture(scope="module")
def flink(tmp_path_factory) -> Iterator[Flink]:
    try:
        fetch_jars("job-server")
    except MedimgError as reason:
        pytest.skip(f"no Flink: {reason}")
    with embedded(tmp_path_factory.mktemp("flink")) as engine:
        yield engine


def write_examples(run: Path, data: Path, to: Path, *, flags: Sequence[str]) -> Path:
    """CaseExampleGen's work on the catalogue of a finished run."""
    catalogue = read_catalogue(output_of(run, "CatalogueGen", "catalogue"))
    heads = {head.name: list(head.classes) for head in CONFIG.model.heads}
    shortcuts = executor.score_shortcuts(catalogue, names=list(CONFIG.evaluation.shortcuts), heads=heads)
    splits = executor.plan_splits(
        catalogue, columns=list(CONFIG.columns), unlabelled=CONFIG.examples.unlabelled, shortcuts=shortcuts
    )
    shards = [
        shard
        for split, cases in splits.items()
        for shard in executor.plan_shards(split, cases, str(to), CONFIG.examples.cases_per_shard)
    ]
    to.mkdir()
    with beam.Pipeline(argv=list(flags)) as pipeline:
        work = executor.WriteShard(str(data), CONFIG.ingest, CONFIG.examples.largest_bytes)
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(work)
    return to


@pytest.fixture(scope="module")
def runs(tiny_run, flink, tmp_path_factory) -> tuple[Path, Path]:
    """The same config on the same data, by Beam's local runner and by Flink."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in (("direct", parse_beam()), ("flink", parse_beam(flink.beam, flink.arguments))):
        request = RunRequest(data_root=tiny_run.data, to=folder / name, beam_args=flags)
        assert run_config(CONFIG, request).blessed
    return folder / "direct", folder / "flink"


def test_flink_writes_the_same_bytes_as_one_and_two_local_workers(tiny_run, runs, tmp_path):
    direct, flink = runs
    local = (
        ["--direct_num_workers=1"],
        ["--direct_num_workers=2"],
        ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
    )
    folders = [
        write_examples(direct, tiny_run.data, tmp_path / str(number), flags=parse_beam("local", one))
        for number, one in enumerate(local)
    ]
    assert {hash_tree(folder) for folder in (examples_of(direct), examples_of(flink), *folders)} == {
        hash_tree(folders[0])
    }


def test_a_portable_job_server_writes_the_same_bytes(tiny_run, runs, flink, tmp_path):
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "apache_beam.runners.portability.local_job_service_main",
        "--port",
        str(port),
    ]
    with (
        (tmp_path / "job-service.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY) as service,
    ):
        try:
            wait_for("localhost", port, service, log=tmp_path / "job-service.log")
            written = write_examples(
                runs[0],
                tiny_run.data,
                tmp_path / "examples",
                flags=parse_beam(f"portable://localhost:{port}", flink.arguments),
            )
        finally:
            service.kill()
    assert hash_tree(written) == hash_tree(examples_of(runs[0]))


def test_statistics_and_transform_on_flink_are_those_of_the_local_runner(runs):
    direct, flink = runs
    assert statistics_of(flink) == statistics_of(direct)
    assert score_of_age_50(flink) == pytest.approx(score_of_age_50(direct), rel=1e-5)


def test_the_evaluator_on_flink_measures_what_the_report_computes_without_beam(runs):
    measured = evaluation_of(runs[1])
    figures = {
        key[1]: value
        for key, value in figures_of(runs[1]).items()
        if key[2] == "P1" and key[4] == "overall" and value is not None
    }
    compared = {
        name: measured["()", f"cases/{name}"] for name in figures if ("()", f"cases/{name}") in measured
    }
    assert len(compared) >= 4
    assert compared == pytest.approx({name: figures[name] for name in compared}, abs=1e-6)


def test_the_figures_on_flink_are_those_of_the_local_runner(runs):
    direct, flink = runs
    assert figures_of(flink).keys() == figures_of(direct).keys()
    # Training adds numbers up in another order each time, which may swap two of the 19 test cases.
    assert aucs_of(flink) == pytest.approx(aucs_of(direct), abs=0.05)


@contextmanager
def pool(work: Path, *, prefix: tuple[str, ...] = (), **variables: str) -> Iterator[str]:
    """A worker pool of its own; yields the flag that names it."""
    port = free_port()
    with running(
        "other-pool", "worker-pool", work=work, prefix=prefix, PORT=str(port), **variables
    ) as process:
        wait_for("localhost", port, process, log=work / "other-pool.log")
        yield f"--environment_config=localhost:{port}"


def change_a_line(older: Path) -> None:
    for package in ("medimg", "components", "pipeline"):
        shutil.copytree(REPOSITORY / package, older / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (older / "components/case_example_gen/executor.py").open("a") as source:
        source.write("# A line that differs.\n")


def install_another_beam(older: Path) -> None:
    (older / "apache_beam-2.61.0.dist-info").mkdir(parents=True)
    (older / "apache_beam-2.61.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: apache-beam\nVersion: 2.61.0\n"
    )


def leave_out_our_package(older: Path) -> None:
    (older / "pipeline").mkdir(parents=True)
    (older / "pipeline" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'pipeline'\")\n"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_a_line, r"worker .* has code of CaseExampleGen \w+, expected \w+ as here"),
        (install_another_beam, r"worker .* has apache-beam 2\.61\.0, expected \S+ as here"),
        (
            leave_out_our_package,
            r"a worker lacks our package or has another version of it \(No module named 'pipeline'\)",
        ),
    ],
)
def test_a_worker_pool_of_another_version_is_refused_before_any_work(change, words, flink, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    change(tmp_path / "older")
    with pool(tmp_path, PYTHONPATH=str(tmp_path / "older")) as flag, pytest.raises(MedimgError, match=words):
        check_engine(parse_beam(flink.beam, [flag]), run=run, data_root=tmp_path)
    assert list(run.iterdir()) == []


def test_a_missing_worker_pool_is_named_before_any_work(flink, tmp_path):
    with pytest.raises(MedimgError, match="looks for a pool at localhost:1"):
        check_engine(
            parse_beam(flink.beam, ["--environment_config=localhost:1"]), run=tmp_path, data_root=tmp_path
        )


def test_workers_that_do_not_reach_the_data_are_named_before_any_work(flink, tmp_path):
    with pytest.raises(
        MedimgError, match=r"--beam: worker .* cannot read .*absent; expected data that all hosts reach"
    ):
        check_engine(parse_beam(flink.beam, flink.arguments), run=tmp_path, data_root=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (
            'mount -t tmpfs none "$0"',
            r"worker .* does not reach the run's folder .*/run; expected one that all hosts share",
        ),
        (
            'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"',
            r"worker .* cannot write to the run's folder .*/run \(Read-only file system\)",
        ),
    ],
)
def test_workers_that_do_not_reach_the_run_are_named_before_any_work(mount, words, flink, tmp_path):
    unshare = ("unshare", "--map-root-user", "--mount")
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("a worker with mounts of its own needs unshare and the kernel's leave")
    run = tmp_path / "run"
    run.mkdir()
    prefix = (*unshare, "sh", "-c", f'{mount} && exec "$@"', str(run))
    with pool(tmp_path, prefix=prefix) as flag, pytest.raises(MedimgError, match=words):
        check_engine(parse_beam(flink.beam, [flag]), run=run, data_root=tmp_path)
    assert list(run.iterdir()) == []
