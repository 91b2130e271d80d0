"""Beam's local runner against ours: elements lost, memory when cores are scarce, processor time at rest.

    python benchmarks/bench_beam_race.py race --runner beam --rounds 10 [--busy 3] [--mode multi_processing]
    python benchmarks/bench_beam_race.py statistics --runner ours --rounds 5 [--quota 4] [--memory 6]
    python benchmarks/bench_beam_race.py examples --runner ours --rounds 5

`race` needs apache-beam alone, so that it also runs in an environment of a newer Beam (with PYTHONPATH=.).
It counts the elements of two bundles that each live for some ten seconds, beside `--busy` processes that do
nothing but use the processor. `statistics` is StatisticsGen of 5,202 small Examples in three splits, each
round in a fresh process, `examples` CaseExampleGen's work on a mammography phantom; imports are outside the
clock. `--quota` is per cent of one core, given after the imports; `--memory` ends a round that takes more GB.
Both need root and cgroups of version 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

RUNNERS = {
    "beam": "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "ours": "pipeline.beam.local_runner.LocalRunner",
}
SHARDS, PER_SHARD, ELEMENT_SECONDS, ELEMENT_BYTES = 8, 500, 0.002, 60_000
SPLITS = {"train": 3642, "eval": 780, "test": 780}
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


def beam_flags(runner: str, *, mode: str = "multi_threading") -> list[str]:
    """A pipeline on two workers of this machine."""
    flags = [f"--runner={RUNNERS[runner]}", f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    return [*flags, "--sdk_container_image=unused"]


class MakeElements(beam.DoFn):
    """Yields the elements of a shard, each after a while of work."""

    def process(self, shard: int) -> Iterator[tuple[int, bytes]]:
        for number in range(PER_SHARD):
            until = time.perf_counter() + ELEMENT_SECONDS
            while time.perf_counter() < until:
                pass
            yield (shard * PER_SHARD + number) % 97, bytes(ELEMENT_BYTES)


def write_sum(counts: list[int], path: str) -> None:
    Path(path).write_text(str(sum(counts)))


def count_elements(flags: list[str]) -> int:
    """Runs the pipeline and returns how many of the elements have arrived."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "count"
        with beam.Pipeline(argv=flags) as pipeline:
            made = pipeline | beam.Create(range(SHARDS)) | beam.Reshuffle() | beam.ParDo(MakeElements())
            counts = made | beam.GroupByKey() | beam.MapTuple(lambda _, values: sum(1 for _ in values))
            _ = counts | beam.combiners.ToList() | "Write" >> beam.Map(write_sum, str(path))
        return int(path.read_text())


def use_processor() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Other work on the machine: `count` processes, each using a core where it gets one."""
    loops = [
        multiprocessing.get_context("spawn").Process(target=use_processor, daemon=True) for _ in range(count)
    ]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def run_race(options: argparse.Namespace) -> None:
    """Prints a line per round and one for all."""
    expected = SHARDS * PER_SHARD
    found: list[str] = []
    with busy(options.busy):
        for number in range(options.rounds):
            started = time.perf_counter()
            try:
                found.append(str(count_elements(beam_flags(options.runner, mode=options.mode))))
            except Exception as error:
                found.append(f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:80]}")
            print(
                f"round {number}: {found[-1]} of {expected} in {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    right = found.count(str(expected))
    where = f"apache-beam {beam.__version__}, {options.mode}, beside {options.busy} busy loops"
    print(
        f"{options.runner}: {right} of {len(found)} rounds right; {where}; peak {peak_gb():.2f} GB",
        flush=True,
    )


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def write_examples(folder: Path) -> None:
    """Writes small Examples like those of tissue tiles: ids, a label and an image that nobody decodes."""
    import tensorflow as tf

    from medimg.cases import Case, Record
    from medimg.examples.encoding import record_to_examples

    draw = random.Random(0)
    for split, count in SPLITS.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "data_tfrecord-00000-of-00001")) as writer:
            for number in range(count):
                levels = {"tile": f"{split}-{number}", "source": f"S{number % 50}"}
                labels = {"tissue": f"class_{draw.randrange(12)}"}
                case = Case(
                    case_id=f"{split}-{number}",
                    group_id=f"S{number % 50}",
                    levels=levels,
                    labels=labels,
                    images=(),
                )
                (example,) = record_to_examples(Record(case, images={}))
                message = tf.train.Example.FromString(example)
                message.features.feature["image_image"].bytes_list.value.append(draw.randbytes(4000))
                writer.write(message.SerializeToString(deterministic=True))


def prepare_statistics(folder: Path, runner: str) -> tuple[Any, Path]:
    """Returns TFX's StatisticsGen with our pipeline's settings, ready to be called, and where it writes."""
    import tensorflow_data_validation as tfdv
    from tfx.components.statistics_gen.executor import Executor
    from tfx.types import artifact_utils, standard_artifacts

    examples, output = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    schema = standard_artifacts.Schema()
    examples.uri, output.uri = str(folder / "examples"), str(folder / f"statistics-{os.getpid()}")
    schema.uri = str(folder / "schema")
    examples.split_names = artifact_utils.encode_split_names(sorted(SPLITS))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    options = tfdv.StatsOptions(experimental_filter_read_paths=True).to_json()
    executor = Executor(
        Executor.Context(beam_pipeline_args=beam_flags(runner), tmp_dir=str(folder / "tmp"), unique_id="0")
    )
    inputs = {"examples": [examples], "schema": [schema]}
    return (lambda: executor.Do(inputs, {"statistics": [output]}, {"stats_options_json": options})), Path(
        output.uri
    )


def count_statistics(folder: Path) -> dict[str, int]:
    """The Examples that the statistics of each split were made of."""
    import tensorflow_data_validation as tfdv

    files = {split: str(folder / f"Split-{split}" / "FeatureStats.pb") for split in SPLITS}
    return {split: tfdv.load_stats_binary(file).datasets[0].num_examples for split, file in files.items()}


def prepare_examples(folder: Path, runner: str) -> tuple[Any, Path]:
    """CaseExampleGen's work on the phantom's cases."""
    from components.case_example_gen import executor
    from medimg.catalogue.tables import read_catalogue
    from medimg.images.prepare import Ingest

    to = folder / f"written-{os.getpid()}"
    planned = executor.plan_splits(read_catalogue(folder / "catalogue"), columns=["source"], unlabelled=False)
    shards = [
        shard for split, cases in planned.items() for shard in executor.plan_shards(split, cases, str(to), 8)
    ]
    ingest = Ingest(image_size=(256, 208), orientation="mammogram", crop="breast")

    def work() -> None:
        to.mkdir()
        with beam.Pipeline(argv=beam_flags(runner)) as pipeline:
            write = executor.WriteShard(str(folder / "data"), ingest, 2**25)
            _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(write)

    return work, to


def work_once(options: argparse.Namespace) -> None:
    """One round in this process: imports, joins the cgroups, works, and prints what it took as JSON."""
    folder = Path(options.folder)
    statistics_of = options.what == "statistics"
    work, to = (prepare_statistics if statistics_of else prepare_examples)(folder, options.runner)
    for group in filter(None, options.groups.split(",")):
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    before, started = os.times(), time.perf_counter()
    work()
    after = os.times()
    seconds = {
        "cpu_s": after.user + after.system - before.user - before.system,
        "wall_s": time.perf_counter() - started,
    }
    for group in filter(None, options.groups.split(",")):
        Path(group).parent.joinpath("cgroup.procs").write_text(
            str(os.getpid())
        )  # Reading the result is not measured.
    right = count_statistics(to) == SPLITS if statistics_of else len(list(to.glob("Split-*/*"))) > 0
    print(json.dumps({**seconds, "peak_gb": peak_gb(), "right": right}), flush=True)
    os._exit(0)


@contextlib.contextmanager
def limits(quota: int, memory_gb: float) -> Iterator[list[Path]]:
    """Cgroups that allow `quota` per cent of one core and so much memory; without a limit, none."""
    groups = []
    if quota:
        groups.append(CGROUPS / "cpu" / f"beam-race-{os.getpid()}")
        groups[-1].mkdir()
        (groups[-1] / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (groups[-1] / "cpu.cfs_quota_us").write_text(str(PERIOD_US * quota // 100))
    if memory_gb:
        groups.append(CGROUPS / "memory" / f"beam-race-{os.getpid()}")
        groups[-1].mkdir()
        (groups[-1] / "memory.limit_in_bytes").write_text(str(int(memory_gb * 1e9)))
    try:
        yield groups
    finally:
        for group in groups:
            group.rmdir()


def run_rounds(options: argparse.Namespace) -> None:
    """Prepares the data, then each round in a fresh process; prints a line per round and medians."""
    with tempfile.TemporaryDirectory() as name:
        prepare_data(options.what, Path(name))
        command = [sys.executable, __file__, options.what, "--runner", options.runner, "--folder", name]
        rounds = []
        for number in range(options.rounds):
            with limits(options.quota, options.memory) as groups:
                child = subprocess.run(
                    [*command, "--groups", ",".join(map(str, groups))], capture_output=True, text=True
                )
            line = (
                child.stdout.strip().splitlines()[-1]
                if child.returncode == 0
                else f'{{"exit": {child.returncode}}}'
            )
            print(f"round {number}: {line}", flush=True)
            rounds.append(json.loads(line))
        done = [one for one in rounds if "cpu_s" in one]
        right = sum(one["right"] for one in done)
        print(f"{options.runner}: {right} of {len(rounds)} right, quota {options.quota} % of a core")
        for what in ("cpu_s", "wall_s", "peak_gb"):
            values = [one[what] for one in done] or [float("nan")]
            print(f"{what}: median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")


def prepare_data(what: str, folder: Path) -> None:
    """The Examples to take statistics of, or the phantom and its catalogue."""
    if what == "statistics":
        write_examples(folder / "examples")
        (folder / "schema").mkdir()
        schema = Path(__file__).parents[1] / "schema" / "tissue.pbtxt"
        (folder / "schema" / "schema.pbtxt").write_text(schema.read_text())
        return
    from medimg.catalogue.build import BuildOptions, build_catalogue
    from medimg.catalogue.split import SplitSettings
    from medimg.datasets import find_data_set

    data_set = find_data_set("cmmd")
    data_set.write_phantom(folder / "data", cases=150, seed=0)
    build_catalogue(
        data_set,
        data_root=folder / "data",
        to=folder / "catalogue",
        options=BuildOptions(SplitSettings(ratios=(0.6, 0.2, 0.2))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("race", "statistics", "examples"))
    parser.add_argument("--runner", choices=RUNNERS, default="ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", default="multi_threading")
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--quota", type=int, default=0)
    parser.add_argument("--memory", type=float, default=0.0)
    parser.add_argument("--folder", default="")
    parser.add_argument("--groups", default="")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.what == "race":
        run_race(options)
    elif options.folder:
        work_once(options)
    else:
        run_rounds(options)


if __name__ == "__main__":
    main()
