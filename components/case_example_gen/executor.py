"""Executor of CaseExampleGen.

Rows of metadata are assigned to shards, and one DoFn does all the work on pixels.
"""

import dataclasses
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import apache_beam as beam
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.artifacts import Rejects
from components.case_example_gen.outcome import (
    WHOLE_FRAME,
    RejectRow,
    expect_written,
    read_outcome,
    write_outcome,
)
from medimg.cases import Case
from medimg.catalogue.split import SPLITS
from medimg.catalogue.tables import Catalogue, catalogue_cases, read_catalogue
from medimg.errors import MedimgError, UnreadableFile
from medimg.evaluation.classification.shortcuts import score_cases, tabulate_shortcuts
from medimg.examples.encoding import record_to_examples
from medimg.examples.record import read_record
from medimg.images.prepare import Ingest

PART = ".part-"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file to write: metadata only."""

    split: str
    path: str
    cases: tuple[Case, ...]


class WriteShard(beam.DoFn):
    """Decodes the cases of one shard and writes its file under a temporary name, then renames it.

    Yields:
        the shard's outcome as JSON: cases and Examples written, and what was quarantined.
    """

    def __init__(self, data_root: str, ingest: Ingest, largest_bytes: int) -> None:
        self._data_root, self._ingest, self._largest_bytes = data_root, ingest, largest_bytes

    def process(self, shard: Shard) -> Iterator[str]:
        import tensorflow as tf

        rejects: list[RejectRow] = []
        written = examples = 0
        # Outside the split's folder (readers take every file in it), under a name unique to the attempt: Beam
        # may retry a shard on another host, where the process ids may be the same.
        temporary = os.path.join(
            os.path.dirname(os.path.dirname(shard.path)),
            f"{PART}{shard.split}-{os.path.basename(shard.path)}-{uuid.uuid4().hex}",
        )
        with tf.io.TFRecordWriter(temporary) as writer:
            for case in shard.cases:
                try:
                    record, unreadable = read_record(
                        case, data_root=Path(self._data_root), ingest=self._ingest
                    )
                    # All blocks of a study before the first is written: a slice that cannot be read must not
                    # leave half of it behind.
                    for example in list(record_to_examples(record, largest_bytes=self._largest_bytes)):
                        writer.write(example)
                        examples += 1
                    written += 1
                except UnreadableFile as error:
                    rejects.append(
                        {
                            "case_id": case.case_id,
                            "split": shard.split,
                            "reason": str(error),
                            "images": len(case.images),
                        }
                    )
                    continue
                for kept, images, reasons in (
                    ("other views", 1, unreadable),
                    (WHOLE_FRAME, 0, record.flags),
                ):
                    rejects += [
                        {
                            "case_id": case.case_id,
                            "split": shard.split,
                            "reason": reason,
                            "images": images,
                            "kept": kept,
                        }
                        for reason in reasons
                    ]
        tf.io.gfile.makedirs(os.path.dirname(shard.path))
        tf.io.gfile.rename(temporary, shard.path, overwrite=True)
        logging.getLogger("medimg").info("%s %s written", shard.split, os.path.basename(shard.path))
        yield json.dumps(
            {"split": shard.split, "written": written, "examples": examples, "rejects": rejects},
            sort_keys=True,
        )


class Executor(BaseBeamExecutor):
    """Decodes the cases of a catalogue and writes them as sharded Examples."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, str],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        rejects_uri = artifact_utils.get_single_uri(output_dict["rejects"])
        catalogue = read_catalogue(Path(artifact_utils.get_single_uri(input_dict["catalogue"])))
        settings = json.loads(exec_properties["examples_settings"])
        ingest = ingest_from_json(exec_properties["ingest"])
        shortcuts = score_shortcuts(catalogue, **json.loads(exec_properties["shortcuts"]))
        splits = plan_splits(
            catalogue,
            columns=json.loads(exec_properties["columns"]),
            unlabelled=settings["unlabelled"],
            shortcuts=shortcuts,
        )
        shards = [
            shard
            for split, cases in splits.items()
            for shard in plan_shards(split, cases, examples.uri, settings["cases_per_shard"])
        ]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards)
                # Rows of metadata. Pixels never cross a shuffle: the runner keeps about 4 copies of its data.
                | "Deal" >> beam.Reshuffle()
                | "Write"
                >> beam.ParDo(WriteShard(exec_properties["data_root"], ingest, settings["largest_bytes"]))
                | "Gather" >> beam.combiners.ToList()
                | "Note" >> beam.Map(write_outcome, os.path.join(rejects_uri, Rejects.FILE))
            )
        # What a worker had begun when it was killed, and another one has written since.
        for left in Path(examples.uri).glob(f"{PART}*"):
            left.unlink(missing_ok=True)
        outcome = read_outcome(Path(rejects_uri, Rejects.FILE))
        expect_written(outcome, planned={split: len(cases) for split, cases in splits.items()})
        # file_format stays unset: the readers then take the compression from the name, and PNG gains nothing
        # from gzip.
        examples.split_names = artifact_utils.encode_split_names(sorted(splits))
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        artifact_utils.get_single_instance(output_dict["rejects"]).set_int_custom_property(
            "count", count_images(outcome.rejects)
        )
        for split, count in outcome.written.items():
            examples.set_int_custom_property(f"cases_{split}", count)


def ingest_from_json(text: str) -> Ingest:
    """Ingest from its JSON form."""
    values = json.loads(text)
    size = values.pop("image_size")
    return Ingest(image_size=tuple(size) if size else None, **values)


def score_shortcuts(
    catalogue: Catalogue, *, names: list[str], heads: Mapping[str, list[str]]
) -> dict[str, dict[str, float]]:
    """By case and head of two classes, the probability that the catalogue alone gives.

    Empty without names.
    """
    return score_cases(tabulate_shortcuts(catalogue, names, heads=heads), names, heads=heads) if names else {}


def plan_splits(
    catalogue: Catalogue,
    *,
    columns: list[str],
    unlabelled: bool,
    shortcuts: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, list[Case]]:
    """Returns the cases by the name of the split that they are written to.

    Of the clinical columns only `columns` are kept; `shortcuts` are added by case.

    Raises:
        MedimgError: a split has no labelled case.
    """
    splits: dict[str, list[Case]] = {split: [] for split in SPLITS}
    statuses = {"": "used"} | ({"unlabelled_": "unlabelled"} if unlabelled else {})
    for prefix, status in statuses.items():
        for split in SPLITS:
            for case in catalogue_cases(catalogue, statuses=(status,), split=split):
                kept = {name: case.clinical.get(name) for name in columns}
                scores = (shortcuts or {}).get(case.case_id, {})
                splits.setdefault(prefix + split, []).append(
                    dataclasses.replace(case, clinical=kept, shortcuts=scores)
                )
    empty = [name for name in SPLITS if not splits[name]]
    if empty:
        raise MedimgError(
            f"no labelled case in split {', '.join(empty)}: more groups are needed, or other split.ratios"
        )
    return splits


def plan_shards(split: str, cases: list[Case], uri: str, cases_per_shard: int) -> Iterable[Shard]:
    """Assigns cases to files in an order that depends on their ids alone.

    So neighbours in the table do not end up side by side.
    """
    ordered = sorted(cases, key=lambda case: hashlib.sha256(case.case_id.encode()).digest())
    count = -(-len(ordered) // cases_per_shard)
    for number in range(count):
        path = os.path.join(uri, f"Split-{split}", f"data_tfrecord-{number:05d}-of-{count:05d}")
        yield Shard(split, path, tuple(ordered[number * cases_per_shard : (number + 1) * cases_per_shard]))


def count_images(rejects: Iterable[RejectRow]) -> int:
    """Images that could not be used; a reject stands for one view, or for all views of a case."""
    return sum(reject["images"] for reject in rejects)
