"""What TFX's Trainer runs: TFRecords and the Transform graph in, an exported model out.

The learning itself is the task's `fit`.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pydantic
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.facts import (
    CALIBRATION_FILE,
    HISTORY_FILE,
    describe_fitted,
    describe_member,
    describe_parts,
    list_bounds,
    model_file,
    table_held_out,
    write_json,
)
from components.trainer.serving import FACTS_FILE, FeatureSpec, Serving, export, raw_spec
from medimg.errors import MedimgError, UsageError
from medimg.tasks import Task, find_task
from medimg.tasks.fitting import Data, Epoch

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

Settings = TypeVar("Settings")
Tensors = dict[str, tf.Tensor]
"""Of one case or a batch, by name."""
PARSE_BATCH = 64


@dataclass(frozen=True)
class Job:
    """A training run as `custom_config` describes it.

    Attributes:
        task, model, training: the task and its settings.
        checkpoints: folder under which training in progress is kept over restarts; None keeps it in the run's
            own folder.
        code: hash of the code, written into the exported model.
    """

    task: Task
    model: Any
    training: Any
    checkpoints: str | None
    code: str


def run(fn_args: FnArgs) -> None:
    """Trains and exports as `fn_args` says.

    Writes to `serving_model_dir` the SavedModel, `medimg.json` and each member's network, `model.keras` (then
    `model1.keras` ...); to `model_run_dir` TensorBoard logs, `history.json` and `calibration.parquet`: the
    answers to eval that the probabilities were set right by.

    Raises:
        MedimgError, UsageError: what cannot be trained, in one line.
    """
    job = read_job(fn_args.custom_config)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path or fn_args.transform_output)
    train_files = list_files(fn_args.train_files, split="train")
    eval_files = list_files(fn_args.eval_files, split="eval")
    key = training_key(job_facts(fn_args.custom_config), [train_files, eval_files], transform_output)
    folder = Path(job.checkpoints or fn_args.model_run_dir) / key
    clear_cache(folder)
    data = read_data(
        job, train_files=train_files, eval_files=eval_files, transform_output=transform_output, folder=folder
    )
    writer = tf.summary.create_file_writer(fn_args.model_run_dir)
    fitted = job.task.fit(
        data,
        model=job.model,
        training=job.training,
        folder=folder,
        report=lambda epoch: report_epoch(epoch, job, writer=writer),
    )
    write_json(
        Path(fn_args.model_run_dir) / HISTORY_FILE,
        {"members": [describe_member(member) for member in fitted.members]},
    )
    held_out = table_held_out(fitted, data, job.task.describe(job.model)["heads"])
    held_out.to_parquet(Path(fn_args.model_run_dir) / CALIBRATION_FILE, index=False)
    for line in list_bounds(fitted):
        print(line, flush=True)
    chosen = ", ".join(str(member.best.number + 1) for member in fitted.members)
    # Those of every epoch; the whole of them is in medimg.json.
    followed = {
        name: value for name, value in fitted.figures.items() if name in fitted.members[0].best.figures
    }
    print(
        f"best epoch {chosen}; calibrated on {describe_parts(fitted)}: {format_figures(followed)}; exporting",
        flush=True,
    )
    predictor = job.task.make_predictor(fitted, model=job.model, training=job.training)
    export(
        Serving(predictor, task=job.task, settings=job.model, transform_output=transform_output),
        fn_args.serving_model_dir,
    )
    for index, member in enumerate(fitted.members):
        member.network.save(Path(fn_args.serving_model_dir) / model_file(index))
    sizes = job.task.clinical_sizes(transform_output, job.model)
    facts = {"task": job.task.name, **job.task.describe(job.model), "code": job.code, "clinical_sizes": sizes}
    write_json(Path(fn_args.serving_model_dir) / FACTS_FILE, {**facts, **describe_fitted(fitted)})
    shutil.rmtree(folder)


def read_job(custom_config: dict[str, Any] | None) -> Job:
    """Checks and types the component's `custom_config`; a UsageError names the first key that is wrong."""
    config = custom_config or {}
    if missing := [key for key in ("task", "model", "training") if key not in config]:
        raise UsageError(f"custom_config has no {', '.join(missing)}; expected task, model and training")
    task = find_task(config["task"])
    model = read_settings(task.model_settings, config["model"], section="model")
    task.check_settings(model)
    training = read_settings(task.training_settings, config["training"], section="training")
    task.check_training(model, training)
    return Job(task, model, training, config.get("checkpoints"), str(config.get("code", "")))


def read_settings(kind: type[Settings], values: dict[str, Any], *, section: str) -> Settings:
    """`values` as the dataclass `kind`; a UsageError names the first key that is wrong."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in (section, *first["loc"]))
        raise UsageError(f"config key {key}: {first['msg'].lower()}, found {first['input']!r}") from None


def list_files(patterns: Iterable[str], *, split: str) -> list[str]:
    """The TFRecord files of a split, sorted; MedimgError if there are none."""
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise MedimgError(f"no Examples in split {split}: no file matches {', '.join(patterns)}")
    return files


def job_facts(custom_config: dict[str, Any]) -> dict[str, Any]:
    """Returns what of `custom_config` decides the result: all but the folder of checkpoints."""
    return {key: value for key, value in custom_config.items() if key != "checkpoints"}


def training_key(
    facts: dict[str, Any], splits: list[list[str]], transform_output: tft.TFTransformOutput
) -> str:
    """Names a training by what decides its result.

    That is its configuration, the content of the Examples and the Transform graph.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for files in splits:
        digest.update(b"split")
        for file in files:
            for checksum in record_checksums(file):
                digest.update(checksum)
    graph = Path(transform_output.transform_savedmodel_dir)
    for path in sorted(path for path in graph.rglob("*") if path.is_file()):
        digest.update(path.relative_to(graph).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def record_checksums(file: str) -> Iterator[bytes]:
    """Yields length and CRC-32C of each record of a TFRecord file, read from the frames alone.

    They identify the content without reading it.

    Raises:
        MedimgError: the file is truncated or compressed.
    """
    size = tf.io.gfile.stat(file).length
    with tf.io.gfile.GFile(file, "rb") as stream:
        position = 0
        while position < size:
            stream.seek(position)
            header = stream.read(12)
            end = position + 16 + (struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size)
            if end > size:
                raise MedimgError(
                    f"{file}: truncated TFRecord at byte {position} of {size}, or compressed; "
                    "expected whole, uncompressed records"
                )
            stream.seek(end - 4)
            yield header[:8] + stream.read(4)
            position = end


def read_data(
    job: Job,
    *,
    train_files: list[str],
    eval_files: list[str],
    transform_output: tft.TFTransformOutput,
    folder: Path,
) -> Data:
    """Reads both splits as decoded cases with their targets.

    The cases are kept on disk in `folder` where they fit in the settings' `cache_bytes`.
    """
    layer = transform_output.transform_features_layer()
    sizes = job.task.clinical_sizes(transform_output, job.model)
    count = sum(1 for file in (*train_files, *eval_files) for _ in record_checksums(file))
    needed = count * job.task.case_bytes(job.model)
    folder.mkdir(parents=True, exist_ok=True)
    # Half of what is free: checkpoints and the export need room too.
    cached = needed <= min(job.training.cache_bytes, shutil.disk_usage(folder).free // 2)
    cases, targets = [], []
    for name, files in (("train", train_files), ("eval", eval_files)):
        parsed = parse_cases(
            files, job=job, transform_layer=layer, raw=raw_spec(transform_output), sizes=sizes
        )
        decoded = parsed.map(decoder(job), num_parallel_calls=tf.data.AUTOTUNE)
        if cached:
            cache_folder(folder).mkdir(parents=True, exist_ok=True)
            decoded = decoded.cache(str(cache_folder(folder) / name))
        # One pass for the targets; it fills the cache on the way.
        targets.append(collect_targets((decoded if cached else parsed).map(lambda *case: case[-1])))
        cases.append(
            decoded.apply(tf.data.experimental.assert_cardinality(len(next(iter(targets[-1].values())))))
        )
    decoding = "decoded and kept on disk" if cached else "will be decoded again in each epoch"
    print(f"{count} cases of train and eval {decoding}", flush=True)
    ids, groups = read_ids(eval_files)
    return Data(
        train=cases[0],
        eval=cases[1],
        train_targets=targets[0],
        eval_targets=targets[1],
        eval_ids=ids,
        eval_groups=groups,
        clinical_width=sum(sizes.values()),
    )


def parse_cases(
    files: list[str],
    *,
    job: Job,
    transform_layer: tft.TransformFeaturesLayer,
    raw: FeatureSpec,
    sizes: dict[str, int],
) -> tf.data.Dataset:
    """Dataset of (image features, clinical inputs, targets), one case each, in the order of the files."""
    images = job.task.image_spec(job.model)

    def parse(serialized: tf.Tensor) -> tuple[Tensors, Tensors, Tensors]:
        transformed = transform_layer(tf.io.parse_example(serialized, raw))
        clinical = job.task.clinical_inputs(transformed, job.model, sizes)
        return tf.io.parse_example(serialized, images), clinical, job.task.targets(transformed, job.model)

    return tf.data.TFRecordDataset(files).batch(PARSE_BATCH).map(parse).unbatch()


def decoder(job: Job) -> Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]:
    """Returns the function that decodes one parsed case to (inputs, targets)."""

    def decode(images: Tensors, clinical: Tensors, targets: Tensors) -> tuple[Tensors, Tensors]:
        return {**job.task.decode_case(images, job.model), **clinical}, targets

    return decode


def collect_targets(targets: tf.data.Dataset) -> dict[str, np.ndarray]:
    """Returns all cases' targets as arrays by name; arrays of length 0 for an empty split."""
    rows = list(targets.as_numpy_iterator())
    arrays = {}
    for name, spec in targets.element_spec.items():
        arrays[name] = np.array([row[name] for row in rows], dtype=spec.dtype.as_numpy_dtype)
    return arrays


def read_ids(files: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Case and group of each Example, text [N] each, in the order of the files."""
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("case_id", "group_id")}
    parsed = tf.data.TFRecordDataset(files).map(lambda one: tf.io.parse_single_example(one, spec))
    rows = [(row["case_id"].decode(), row["group_id"].decode()) for row in parsed.as_numpy_iterator()]
    cases, groups = np.array(rows, dtype=str).reshape(-1, 2).T
    return cases, groups


def cache_folder(folder: Path) -> Path:
    """Where decoded cases are kept while training."""
    return folder / "cache"


def clear_cache(folder: Path) -> None:
    """Removes what a killed run left.

    A half-written cache looks like one that another process is writing.
    """
    shutil.rmtree(cache_folder(folder), ignore_errors=True)


def report_epoch(epoch: Epoch, job: Job, *, writer: tf.summary.SummaryWriter) -> None:
    """One line for people, one point per figure for TensorBoard."""
    is_ensemble = job.training.members > 1
    member = f"member {epoch.member + 1}/{job.training.members}, " if is_ensemble else ""
    progress = f"{member}epoch {epoch.number + 1}/{job.training.epochs}"
    print(f"{progress}: {format_figures(epoch.figures)}, {epoch.seconds:.1f} s", flush=True)
    with writer.as_default():
        for name, value in epoch.figures.items():
            tf.summary.scalar(
                f"member{epoch.member}/{name}" if is_ensemble else name, value, step=epoch.number
            )
    writer.flush()


def format_figures(figures: Mapping[str, float]) -> str:
    """`train loss 0.412, malignancy auc 0.913, malignancy loss 0.402`."""
    return ", ".join(
        f"{name.replace('/', ' ')} {'undefined' if math.isnan(value) else f'{value:.3f}'}"
        for name, value in figures.items()
    )
