"""Executor of CatalogueGen."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from medimg.cases import LabelSettings, ScanSettings
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.provenance import PROVENANCE
from medimg.catalogue.settings import copy_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import Catalogue
from medimg.datasets import find_data_set


class Executor(BaseExecutor):
    """Builds the catalogue, or takes one that is there.

    Its counts, its content hash and the provenance of its data become custom properties of the artifact, from
    which the lineage is read.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, str],
    ) -> None:
        artifact = artifact_utils.get_single_instance(output_dict["catalogue"])
        to, made = Path(artifact.uri), as_path(exec_properties.get("made", ""))
        catalogue = copy_catalogue(made, to) if made else build(exec_properties, to)
        artifact.set_string_custom_property("data_set", exec_properties["data_set"])
        artifact.set_string_custom_property("content_hash", catalogue.summary["content_hash"])
        for what in ("images", "cases"):
            for status, count in catalogue.summary[what].items():
                artifact.set_int_custom_property(f"{what}_{status}", int(count))
        note_provenance(artifact, catalogue.summary)


def build(exec_properties: Mapping[str, str], to: Path) -> Catalogue:
    """Builds the catalogue that the properties of an execution ask for."""
    settings, labels = json.loads(exec_properties["split"]), json.loads(exec_properties["labels"])
    scan = ScanSettings(**json.loads(exec_properties["scan"]))
    return build_catalogue(
        find_data_set(
            exec_properties["data_set"], labels=LabelSettings(keep=tuple(labels["keep"])), scan=scan
        ),
        data_root=Path(exec_properties["data_root"]),
        to=to,
        options=BuildOptions(
            SplitSettings(**{**settings, "ratios": tuple(settings["ratios"])}),
            previous=as_path(exec_properties["previous"]),
            split_file=as_path(exec_properties["split_file"]),
            index_path=Path(exec_properties["index"]),
        ),
    )


def as_path(text: str) -> Path | None:
    """A path, or None for an empty text."""
    return Path(text) if text else None


def note_provenance(artifact: Artifact, summary: Mapping[str, Any]) -> None:
    """Puts what the receipts say into ML Metadata, several values as "idc; nbia".

    Nothing for data that no fetch brought.
    """
    if not summary["provenance"]:
        return
    artifact.set_int_custom_property("images_with_receipt", summary["receipts"]["with"])
    for name in PROVENANCE:
        values = dict.fromkeys(row[name] for row in summary["provenance"] if row[name])
        if values:
            artifact.set_string_custom_property(name, "; ".join(values))
