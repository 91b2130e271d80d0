"""Where Beam's work is done: `--beam ENGINE` and `--beam-arg` as Beam's own flags."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from medimg.errors import UsageError

# The image name, here and below, keeps TFX from building an sdist of itself for the workers to install.
NO_SDIST = "--sdk_container_image=unused"
# Named in full, so that every process that is given the flags finds it; why not Beam's own: decision 0013.
LOCAL_RUNNER = "pipeline.beam.local_runner.LocalRunner"
LOCAL = (f"--runner={LOCAL_RUNNER}", "--direct_running_mode=multi_threading", NO_SDIST)
# The modes in which Beam's own local runner flushes by a timer, and its names, the package aside.
TIMED_MODES = ("multi_threading", "multi_processing")
BEAMS_LOCAL = re.compile(r"(FnApi|\w*Direct|Interactive)(Runner)?", re.IGNORECASE)
TIME_LIMIT = "data_buffer_time_limit_ms"
WORKER_POOL = "localhost:50000"
PORTABLE = (
    "--runner=PortableRunner",
    # One worker pool beside each of the engine's workers (kubeflow/flink/README.md), so that the same words
    # mean another pool on each host.
    "--environment_type=EXTERNAL",
    f"--environment_config={WORKER_POOL}",
    # The deadline of a whole job, by default a minute; but also how long Beam waits for a job server that is
    # gone: a day.
    "--job_server_timeout=86400",
    # Else each stage of a job starts a Python process of its own, which imports TensorFlow.
    "--environment_cache_millis=30000",
    # Else each job calls `pip freeze`, for a list that nobody reads.
    "--experiments=disable_logging_submission_environment",
    NO_SDIST,
)
ENGINES = ("flink", "spark", "portable")
NEEDED_BY_DATAFLOW = ("project", "region", "temp_location", "sdk_container_image")
# How an exception of ours reads in the text of a failed job.
OWN_ERROR = re.compile(r"^medimg\.errors\.\w+: (.+?)(?: \[while running '.*'\])?$", re.MULTILINE)
EXPECTED = (
    "expected local, dataflow, or flink://, spark:// or portable:// with HOST:PORT of Beam's job server"
)


def parse_beam(
    engine: str = "local", arguments: Sequence[str] = (), *, cores: int | None = None
) -> tuple[str, ...]:
    """Beam's flags for an engine, followed by `arguments`, of which each wins over a flag of the same name.

    `cores` is of the machine that does the work if the engine is local; this one's if not given.

    Raises:
        UsageError: an engine or an address that cannot be read, Dataflow without the flags that it needs, or
            one of Beam's runners that lose elements: DaskRunner, and its local ones in a mode with a timer.
    """
    if "dask" in engine.lower() or any("DaskRunner" in argument for argument in arguments):
        raise UsageError(
            "Beam's DaskRunner gives wrong results without saying so and is refused; use Flink, Spark or "
            "Dataflow"
        )
    refuse_timed_flush((*LOCAL, *arguments))
    for argument in arguments:
        if not argument.startswith("--"):
            raise UsageError(
                f"--beam-arg {argument}: expected a flag of Beam with its value, such as "
                "--beam-arg=--parallelism=4"
            )
    if engine == "local":
        return (*LOCAL, f"--direct_num_workers={cores or os.cpu_count() or 1}", *arguments)
    if engine == "dataflow":
        given = {argument.partition("=")[0] for argument in arguments if "=" in argument}
        missing = [f"--{name}" for name in NEEDED_BY_DATAFLOW if f"--{name}" not in given]
        if missing:
            raise UsageError(
                f"--beam dataflow also needs {', '.join(missing)}; give each as --beam-arg=--NAME=VALUE"
            )
        return ("--runner=DataflowRunner", *arguments)
    name, separator, address = engine.partition("://")
    if not separator or name not in ENGINES:
        raise UsageError(f"--beam {engine}: {EXPECTED}")
    if not (found := re.fullmatch(r"[^\s/:@]+:(\d+)", address)) or not 0 < int(found[1]) < 65536:
        raise UsageError(f"--beam {engine}: {address!r} is no HOST:PORT; {EXPECTED}")
    flags = (*PORTABLE, f"--job_endpoint={address}", *arguments)
    if not re.fullmatch("[1-9][0-9]*", parallelism := read_flag(flags, "parallelism", "1")):
        raise UsageError(
            f"--beam-arg --parallelism={parallelism}: expected the number of workers that work at the same "
            "time"
        )
    return flags


def refuse_timed_flush(flags: Sequence[str]) -> None:
    """Raises UsageError if Beam would flush its buffers by a timer, which loses elements (decision 0013)."""
    # Beam's parser takes `--runn` for `--runner`.
    names = ("direct_running_mode", "runner")
    mode, runner = (read_flag(flags, name, abbreviated=True) for name in names)
    if mode in TIMED_MODES and BEAMS_LOCAL.fullmatch(runner.rpartition(".")[2]):
        raise UsageError(
            f"--runner={runner}: in {mode} mode Beam's own local runner loses elements without an error and"
            " is refused; leave --runner away (ours is the default), or add"
            " --beam-arg=--direct_running_mode=in_memory"
        )
    if any(TIME_LIMIT in flag for flag in flags):
        raise UsageError(
            f"{TIME_LIMIT} makes Beam's workers lose elements without saying so and is refused; leave it away"
        )


def read_flag(flags: Sequence[str], name: str, default: str = "", *, abbreviated: bool = False) -> str:
    """Returns the value of a flag of Beam, of `abbreviated` ones too if asked; of several, the last."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=abbreviated)
    parser.add_argument(f"--{name}", default=default)
    value: str = getattr(parser.parse_known_args(list(flags))[0], name)
    return value


def explain_engine(text: str, flags: Sequence[str]) -> str:
    """Returns one line for what an engine says of a failed job.

    Its text often holds the whole traceback of a worker and of the engine.
    """
    pool = read_flag(flags, "environment_config", WORKER_POOL)
    if own := OWN_ERROR.findall(text):
        return str(own[-1])
    if "No module named" in text or "Can't get attribute" in text:
        missing = re.findall(r"No module named '[^']+'|Can't get attribute '[^']+'", text)
        return (
            f"a worker lacks our package or has another version of it ({missing[-1]}); expected the "
            "medimg-tfx that is installed here"
        )
    if "failed in state" not in text and (details := re.search(r'details = "([^"]*)"', text)):
        return f"the job server did not take the job: {details[1]}"
    if "finishConnect" in text or "UNAVAILABLE" in text:
        return (
            f"a worker or its pool does not answer (each of the engine's hosts looks for a pool at {pool}); "
            "is one running on every host?"
        )
    if "NoResourceAvailable" in text:
        return "the engine has too few free slots; expected as many as --parallelism says"
    return next(
        (line.strip() for line in text.partition("failed in state FAILED: ")[2].splitlines() if line.strip()),
        " ".join(text.split()),
    )[:300]
