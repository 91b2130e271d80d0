"""Executor of DataGate."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow_data_validation as tfdv
from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.artifacts import GateReport, Rejects
from components.case_example_gen.outcome import RejectRow, lost_examples, read_outcome
from medimg.catalogue.quarantine import LIST_SQL, describe_reasons, list_quarantined
from medimg.catalogue.split import SPLITS
from medimg.catalogue.summary import count_quarantined
from medimg.catalogue.tables import Catalogue, read_catalogue
from medimg.errors import MedimgError


class Executor(BaseExecutor):
    """Checks the data against the contract; every finding is collected before the run is stopped."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, str],
    ) -> None:
        settings = json.loads(exec_properties["settings"])
        folder = Path(artifact_utils.get_single_uri(input_dict["catalogue"]))
        catalogue = read_catalogue(folder)
        outcome = read_outcome(Path(artifact_utils.get_single_uri(input_dict["rejects"]), Rejects.FILE))
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        failures = [
            *lost_examples("StatisticsGen", count_examples(statistics), outcome),
            *schema_anomalies(anomalies),
            *split_groups(catalogue),
            *too_many_quarantined(
                catalogue, outcome.rejects, share=settings["quarantined_share"], folder=folder
            ),
            *missing_classes(catalogue, exec_properties["head"]),
        ]
        warnings = [
            *catalogue.summary.get("leaks", ()),
            *drifts(statistics, settings["drift"], head=exec_properties["head"]),
        ]
        for warning in warnings:
            logging.warning("DataGate: %s", warning)
        report = Path(artifact_utils.get_single_uri(output_dict["report"]), GateReport.FILE)
        report.write_text(json.dumps({"failures": failures, "warnings": warnings}, indent=1))
        if failures:
            more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
            for failure in failures:
                logging.error("DataGate: %s", failure)
            raise MedimgError(f"{failures[0]}{more}")


def count_examples(artifact: Artifact) -> dict[str, int]:
    """Examples that the statistics of each split were made of."""
    splits = artifact_utils.decode_split_names(artifact.split_names)
    counts: dict[str, int] = {}
    for split in splits:
        counts[split] = sum(data.num_examples for data in load_statistics(artifact, split).datasets)
    return counts


def schema_anomalies(artifact: Artifact) -> Iterator[str]:
    """What ExampleValidator found, one line per split and feature."""
    for split in artifact_utils.decode_split_names(artifact.split_names):
        found = anomalies_pb2.Anomalies.FromString(
            Path(artifact.uri, f"Split-{split}", "SchemaDiff.pb").read_bytes()
        )
        for feature, info in sorted(found.anomaly_info.items()):
            yield f"split {split}, feature {feature}: {info.short_description.lower()} ({info.description})"


def split_groups(catalogue: Catalogue) -> Iterator[str]:
    """Yields a line for each group whose cases are in more than one split.

    Leaks that the catalogue names are left out: a split by case, and the publisher's own split.
    """
    if catalogue.summary["split_settings"].get("by") == "case":
        return
    placed = catalogue.cases[catalogue.cases.status.isin(["used", "unlabelled"])]
    counts = placed.groupby(["group_id", placed.official_split.fillna("")])["split"].nunique()
    for group in counts[counts > 1].index.unique("group_id"):
        splits = sorted(placed[placed.group_id == group].split.unique())
        yield f"group {group} is in splits {' and '.join(splits)}, expected one"


def missing_classes(catalogue: Catalogue, head: str) -> Iterator[str]:
    """Classes of the main head that a split lacks."""
    column = f"label_{head}"
    used = catalogue.cases[catalogue.cases.status == "used"]
    if column not in used:
        labels = [str(name).removeprefix("label_") for name in used if str(name).startswith("label_")]
        yield f"no case has a label {head!r}; labels found: {', '.join(labels)}"
        return
    classes = sorted(used[column].dropna().unique())
    if len(classes) < 2:
        found = ", ".join(map(str, classes))
        yield f"label {head!r} has one class only ({found}), expected two or more"
    for split in SPLITS:
        present = set(used[used.split == split][column].dropna())
        for name in map(str, classes):
            if name not in present:
                yield (
                    f"class {name!r} of {head!r} is missing from split {split}; "
                    "another split.seed, other split.ratios or more groups are needed"
                )


def too_many_quarantined(
    catalogue: Catalogue, rejects: Sequence[RejectRow], *, share: float, folder: Path
) -> Iterator[str]:
    """Compares the share of quarantined images with the config's limit.

    Images that the catalogue and that decoding quarantined count together, with labelled rows whose file is
    absent or no image.

    Args:
        folder: of the catalogue, where the line says how to list all of them.
    """
    found = count_quarantined(catalogue.summary)
    quarantined = found + sum(reject["images"] for reject in rejects)
    total = found + catalogue.summary["images"]["used"]
    if total and quarantined / total > share:
        decoded = [("", reject["reason"]) for reject in rejects for _ in range(reject["images"])]
        reasons = describe_reasons([*list_quarantined(catalogue), *decoded])
        yield (
            f"{quarantined} of {total} images are quarantined ({quarantined / total:.1%}), "
            f"data_gate.quarantined_share allows {share:.1%}: {reasons}; "
            f'the list: medimg query {shlex.quote(str(folder))} "{LIST_SQL}"'
        )


def drifts(artifact: Artifact, threshold: float, *, head: str) -> Iterator[str]:
    """Yields a line for each clinical column, or the main label, that is far from train in eval or test.

    See `feature_distance`.
    """
    by_split = {
        split: load_features(artifact, split)
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }
    for split in ("eval", "test"):
        for name, feature in by_split.get(split, {}).items():
            train = by_split.get("train", {}).get(name)
            if train is None or not (name.startswith("clinical_") or name == f"label_{head}"):
                continue
            distance = feature_distance(train, feature)
            if distance > threshold:
                what = name.removeprefix("clinical_").removeprefix("label_")
                yield (
                    f"{what} is distributed differently in {split} than in train: "
                    f"distance {distance:.2f}, warned of above {threshold:g}"
                )


def load_features(artifact: Artifact, split: str) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """Feature statistics of one split by feature name."""
    datasets = load_statistics(artifact, split).datasets
    return {feature.path.step[0]: feature for dataset in datasets for feature in dataset.features}


def load_statistics(artifact: Artifact, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """What StatisticsGen has written of one split."""
    return tfdv.load_stats_binary(os.path.join(artifact.uri, f"Split-{split}", "FeatureStats.pb"))


def feature_distance(
    first: statistics_pb2.FeatureNameStatistics, second: statistics_pb2.FeatureNameStatistics
) -> float:
    """Returns how far two distributions of a feature are apart.

    For numbers that is the shift of the mean in the first's standard deviations, for text the L-infinity
    distance of the values' shares.
    """
    if first.HasField("num_stats") and second.HasField("num_stats"):
        deviation = first.num_stats.std_dev
        return float(abs(first.num_stats.mean - second.num_stats.mean) / deviation) if deviation > 0 else 0.0
    first_shares, second_shares = value_shares(first), value_shares(second)
    labels = first_shares.keys() | second_shares.keys()
    return max(
        (abs(first_shares.get(label, 0.0) - second_shares.get(label, 0.0)) for label in labels), default=0.0
    )


def value_shares(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    """Share of each value of a text feature."""
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    return {bucket.label: bucket.sample_count / total for bucket in buckets} if total else {}
