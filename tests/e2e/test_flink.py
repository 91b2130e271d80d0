"""The pipeline on Flink 1.19, embedded in Beam's job server: the same records as on Beam's local runner, and the same figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pytest

from components.case_example_gen import executor
from kubeflow.flink.local import REPOSITORY, Flink, embedded, fetch_jars, free_port, running, wait_for
from medimg.catalogue.tables import read_catalogue
from medimg.errors import MedimgError
from medimg.fingerprints import hash_tree
from pipeline.beam import parse_beam
from pipeline.config import load_config
from pipeline.engine import check_engine
from pipeline.lineage import Node, latest_nodes, open_store
from pipeline.run_local import run_config
from tests.e2e.conftest import TINY

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


def nodes_of(run: Path) -> dict[str, Node]:
    return latest_nodes(open_store(run / "metadata.sqlite"), CONFIG.name)


def examples_of(run: Path) -> Path:
    return Path(nodes_of(run)["CaseExampleGen"].outputs["examples"][0].uri)


def write_examples(run: Path, data: Path, to: Path, *, flags: Sequence[str]) -> Path:
    """CaseExampleGen's work on the catalogue of a finished run."""
    catalogue = read_catalogue(Path(nodes_of(run)["CatalogueGen"].outputs["catalogue"][0].uri))
    splits = executor.plan_splits(catalogue, columns=list(CONFIG.columns), unlabelled=CONFIG.examples.unlabelled)
    shards = [shard for split, cases in splits.items() for shard in executor.plan_shards(split, cases, str(to), CONFIG.examples.cases_per_shard)]
    to.mkdir()
    with beam.Pipeline(argv=list(flags)) as pipeline:
        work = executor.WriteShard(str(data), CONFIG.ingest, CONFIG.examples.largest_bytes)
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(work)
    return to


def read_figures(run: Path) -> dict[tuple[str, ...], float | None]:
    figures = json.loads((run / "report" / "metrics.json").read_text())
    return {tuple(figure[name] for name in ("head", "name", "protocol", "level", "slice")): figure["value"] for figure in figures}


@pytest.fixture(scope="module")
def runs(tiny_run, flink, tmp_path_factory) -> tuple[Path, Path]:
    """The same config on the same data, by Beam's local runner and by Flink."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in (("direct", parse_beam()), ("flink", parse_beam(flink.beam, flink.arguments))):
        assert run_config(CONFIG, data_root=tiny_run.data, to=folder / name, beam_args=flags).blessed
    return folder / "direct", folder / "flink"


def test_flink_writes_the_same_bytes_as_one_and_two_local_workers(tiny_run, runs, tmp_path):
    direct, flink = runs
    flags = [parse_beam("local", [f"--direct_num_workers={workers}"]) for workers in (1, 2)]
    folders = [write_examples(direct, tiny_run.data, tmp_path / str(number), flags=one) for number, one in enumerate(flags)]
    assert {hash_tree(folder) for folder in (examples_of(direct), examples_of(flink), *folders)} == {hash_tree(folders[0])}


def test_a_portable_job_server_writes_the_same_bytes(tiny_run, runs, flink, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)]
    with (tmp_path / "job-service.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY) as service:
        try:
            wait_for("localhost", port, service, log=tmp_path / "job-service.log")
            written = write_examples(runs[0], tiny_run.data, tmp_path / "examples", flags=parse_beam(f"portable://localhost:{port}", flink.arguments))
        finally:
            service.kill()
    assert hash_tree(written) == hash_tree(examples_of(runs[0]))


def test_statistics_and_transform_on_flink_are_those_of_the_local_runner(runs):
    import tensorflow as tf
    import tensorflow_data_validation as tfdv
    import tensorflow_transform as tft

    def statistics(run):
        uri = nodes_of(run)["StatisticsGen"].outputs["statistics"][0].uri
        features = tfdv.load_stats_binary(f"{uri}/Split-train/FeatureStats.pb").datasets[0].features
        return {feature.path.step[0]: (feature.num_stats.mean, feature.string_stats.unique) for feature in features}

    def score_of_age_50(run):
        graph = tft.TFTransformOutput(nodes_of(run)["Transform"].outputs["transform_graph"][0].uri)
        inputs = {"clinical_age_years": tf.sparse.from_dense([[50.0]])}
        return graph.transform_features_layer()(inputs)["clinical_age_years"].numpy().tolist()[0]

    direct, flink = runs
    assert statistics(flink) == statistics(direct)
    assert score_of_age_50(flink) == pytest.approx(score_of_age_50(direct), rel=1e-5)


def test_the_evaluator_on_flink_measures_what_the_report_computes_without_beam(runs):
    import tensorflow_model_analysis as tfma

    uri = nodes_of(runs[1])["Evaluator"].outputs["evaluation"][0].uri
    measured = tfma.load_eval_result(uri).get_metrics_for_all_slices(output_name="")[()]
    figures = {key[1]: value for key, value in read_figures(runs[1]).items() if key[2] == "P1" and key[4] == "overall" and value is not None}
    compared = {name: measured[f"cases/{name}"]["doubleValue"] for name in figures if f"cases/{name}" in measured}
    assert len(compared) >= 4
    assert compared == pytest.approx({name: figures[name] for name in compared}, abs=1e-6)


def test_the_figures_on_flink_are_those_of_the_local_runner(runs):
    on_flink, direct = read_figures(runs[1]), read_figures(runs[0])
    assert on_flink.keys() == direct.keys()
    # Training adds numbers up in another order each time, which may swap two of the 19 test cases.
    overall = {key for key, value in direct.items() if key[1] == "auc" and key[4] == "overall" and value is not None}
    assert {key: on_flink[key] for key in overall} == pytest.approx({key: direct[key] for key in overall}, abs=0.05)


def test_workers_that_do_not_reach_the_data_are_named_before_any_work(flink, tmp_path):
    with pytest.raises(MedimgError, match=r"--beam: worker .* cannot read .*absent; expected data that all hosts reach"):
        check_engine(parse_beam(flink.beam, flink.arguments), run=tmp_path, data_root=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_pool_of_another_version_is_refused_before_any_work(flink, tmp_path):
    for package in ("medimg", "components", "pipeline"):
        shutil.copytree(REPOSITORY / package, tmp_path / "older" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "older/components/case_example_gen/executor.py").open("a") as source:
        source.write("# A line that differs.\n")
    port = free_port()
    with running("older-pool", "worker-pool", work=tmp_path, PORT=str(port), PYTHONPATH=str(tmp_path / "older")) as pool:
        wait_for("localhost", port, pool, log=tmp_path / "older-pool.log")
        with pytest.raises(MedimgError, match=r"worker .* has code of CaseExampleGen \w+, expected \w+ as here"):
            check_engine(parse_beam(flink.beam, [f"--environment_config=localhost:{port}"]), run=tmp_path, data_root=tmp_path)


def test_a_missing_worker_pool_is_named_before_any_work(flink, tmp_path):
    with pytest.raises(MedimgError, match="looks for a pool at localhost:1"):
        check_engine(parse_beam(flink.beam, ["--environment_config=localhost:1"]), run=tmp_path, data_root=tmp_path)
