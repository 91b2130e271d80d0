"""Executor of CatalogueGen."""

import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils

from medimg.catalogue.build import build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.datasets import find_data_set


class Executor(BaseExecutor):
    """Builds the catalogue and notes its counts and content hash on the artifact, where lineage finds them."""

    def Do(self, input_dict: dict[str, list[Any]], output_dict: dict[str, list[Any]], exec_properties: dict[str, Any]) -> None:
        artifact = artifact_utils.get_single_instance(output_dict["catalogue"])
        settings = json.loads(exec_properties["split"])
        catalogue = build_catalogue(
            find_data_set(exec_properties["data_set"]),
            data_root=Path(exec_properties["data_root"]),
            to=Path(artifact.uri),
            split=SplitSettings(**{**settings, "ratios": tuple(settings["ratios"])}),
            previous=Path(exec_properties["previous"]) if exec_properties["previous"] else None,
            index_path=Path(exec_properties["index"]),
        )
        artifact.data_set = exec_properties["data_set"]
        artifact.set_string_custom_property("content_hash", catalogue.summary["content_hash"])
        for what in ("images", "cases"):
            for status, count in catalogue.summary[what].items():
                artifact.set_int_custom_property(f"{what}_{status}", int(count))
