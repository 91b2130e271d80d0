"""`--beam` as Beam's flags, what is refused, and what a person reads of an engine's failure.

No engine runs here.
"""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from apache_beam.runners.runner import create_runner

from medimg.errors import MedimgError, UsageError
from pipeline.beam.flags import explain_engine, parse_beam, read_flag
from pipeline.beam.local_runner import LocalRunner

DATAFLOW = ("--project=p", "--region=r", "--temp_location=gs://b/t", "--sdk_container_image=i")
FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
PROCESSES = "--direct_running_mode=multi_processing"
# As Flink 1.19 and Beam 2.62 say it, shortened.
WORKER_TRACEBACK = """\
Pipeline BeamApp-1 failed in state FAILED: java.lang.RuntimeException: from SDK harness: Traceback (most \
recent call last):
  File "apache_beam/runners/common.py", line 1501, in apache_beam.runners.common.DoFnRunner.process
medimg.errors.MedimgError: a first one

During handling of the above exception, another exception occurred:
medimg.errors.UnreadableFile: a.dcm: 12 bytes, expected 240 [while running 'Write']
	at java.base/java.util.concurrent.CompletableFuture.get(CompletableFuture.java:2005)
"""


def test_the_local_runner_is_ours_by_a_name_that_beam_finds_and_uses_every_core():
    flags = parse_beam()
    assert type(create_runner(read_flag(flags, "runner"))) is LocalRunner
    assert int(read_flag(flags, "direct_num_workers")) >= 1


@pytest.mark.parametrize("engine", ["flink", "spark", "portable"])
def test_a_job_server_is_addressed_with_workers_of_its_own_and_no_deadline_of_a_minute(engine):
    flags = parse_beam(f"{engine}://host.example:8099")
    assert read_flag(flags, "job_endpoint") == "host.example:8099"
    assert read_flag(flags, "environment_type") == "EXTERNAL"
    assert int(read_flag(flags, "job_server_timeout")) >= 24 * 3600


def test_a_raw_flag_wins():
    assert (
        read_flag(parse_beam("flink://h:1", ["--environment_config=pool:2"]), "environment_config")
        == "pool:2"
    )
    assert read_flag(parse_beam("local", ["--direct_num_workers=7"]), "direct_num_workers") == "7"
    assert read_flag(["-h", "--help", "--runner=a", "--runner=b"], "runner") == "b"


@pytest.mark.parametrize(
    "arguments", [(f"--runner={FN_API}", "--direct_running_mode=in_memory"), (PROCESSES,)]
)
def test_a_local_runner_without_a_timer_is_taken(arguments):
    assert parse_beam("local", arguments)[-len(arguments) :] == arguments


def test_dataflow_takes_the_flags_that_it_needs():
    assert parse_beam("dataflow", DATAFLOW) == ("--runner=DataflowRunner", *DATAFLOW)


@pytest.mark.parametrize(
    ("engine", "arguments", "words"),
    [
        ("flink", (), "expected local, dataflow, or flink://"),
        ("beam://h:1", (), "expected local, dataflow, or flink://"),
        ("flink://host", (), "'host' is no HOST:PORT"),
        ("flink://host:0", (), "no HOST:PORT"),
        ("flink://host:70000", (), "no HOST:PORT"),
        ("flink://user@host:8099", (), "no HOST:PORT"),
        ("flink://host:8099/path", (), "no HOST:PORT"),
        ("dataflow", DATAFLOW[:2], "--temp_location, --sdk_container_image"),
        ("dask", (), "DaskRunner gives wrong results"),
        (
            "local",
            ("--runner=apache_beam.runners.dask.dask_runner.DaskRunner",),
            "DaskRunner gives wrong results",
        ),
        ("local", (f"--runner={FN_API}",), "in multi_threading mode Beam's own local runner loses elements"),
        ("local", ("--runner=DirectRunner", PROCESSES), "--runner=DirectRunner: in multi_processing mode"),
        ("local", ("--runner=direct",), "leave --runner away"),
        ("local", ("--runner=BundleBasedDirectRunner",), "leave --runner away"),
        ("local", ("--runn=DirectRunner",), "leave --runner away"),
        (
            "local",
            ("--runner=apache_beam.runners.direct.direct_runner.SwitchingDirectRunner",),
            "leave --runner away",
        ),
        ("portable://h:1", (f"--runner={FN_API}", PROCESSES), "in multi_processing mode Beam's own"),
        (
            "flink://h:1",
            ("--experiments=data_buffer_time_limit_ms=1000",),
            "data_buffer_time_limit_ms makes Beam's workers",
        ),
        ("local", ("runner=x",), "expected a flag of Beam"),
        ("flink://host:8099", ("--parallelism=many",), "--parallelism=many"),
    ],
)
def test_what_cannot_be_meant_is_refused(engine, arguments, words):
    with pytest.raises(UsageError, match=words):
        parse_beam(engine, arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WORKER_TRACEBACK, "a.dcm: 12 bytes, expected 240"),
        (
            "failed in state FAILED: java.net.ConnectException: finishConnect(..) failed: Connection refused",
            "looks for a pool at localhost:50000",
        ),
        (
            "ModuleNotFoundError: No module named 'pipeline.beam.probe'\n",
            "lacks our package or has another version of it (No module named 'pipeline.beam.probe')",
        ),
        (
            "org.apache.flink...NoResourceAvailableException: Could not acquire the minimum required "
            "resources.",
            "too few free slots",
        ),
        (
            "<_InactiveRpcError of RPC that terminated with:\n\tstatus = UNAVAILABLE\n"
            '\tdetails = "connect failed"',
            "did not take the job: connect failed",
        ),
        ("Pipeline x failed in state FAILED: something new\n\tat java", "something new"),
        ("something else\n\tat java\n", "something else at java"),
        (f"failed in state FAILED: {'x' * 400}\n", "x" * 300),
        ("y" * 400, "y" * 300),
    ],
)
def test_a_failed_job_is_told_in_one_line(text, words):
    line = explain_engine(text, parse_beam("flink://h:1"))
    assert words in line
    assert "\n" not in line
    assert len(line) <= 300


@pytest.fixture
def http_port():
    server = HTTPServer(("localhost", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_an_engine_that_does_not_answer_is_named_with_its_address(tmp_path):
    from pipeline.beam.probe import check_engine

    with socket.socket() as one:
        one.bind(("localhost", 0))  # Bound, and nobody listens.
        port = one.getsockname()[1]
        with pytest.raises(MedimgError, match=f"no job server at localhost:{port}"):
            check_engine(parse_beam(f"flink://localhost:{port}"), run=tmp_path, data_root=tmp_path)


def test_another_server_on_the_port_is_not_taken_for_a_job_server(tmp_path, http_port):
    from pipeline.beam.probe import check_engine

    with pytest.raises(MedimgError, match="is not Beam's job server"):
        check_engine(parse_beam(f"flink://localhost:{http_port}"), run=tmp_path, data_root=tmp_path)
