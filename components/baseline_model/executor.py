"""Executor of BaselineModel."""

import os

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, path_utils

from medimg.hashing import newest_version


class Executor(BaseExecutor):
    """Copies the newest pushed model, or clears the output: an empty directory would stop the Evaluator."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, str],
    ) -> None:
        serving = exec_properties["serving"]
        version = newest_version(fileio.listdir(serving) if fileio.isdir(serving) else [])
        if version is None:
            output_dict["model"].clear()
            return
        model = artifact_utils.get_single_instance(output_dict["model"])
        io_utils.copy_dir(os.path.join(serving, version), path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property("pushed_version", version)
