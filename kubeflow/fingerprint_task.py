"""The first task of a compiled pipeline: fingerprints of data and pushed models on the cluster.

They are in the cache keys of the other tasks.

On one machine the runner takes them before it starts anything (`pipeline.cache_keys`). A spec is compiled
where the data are not, so there a task that is never cached hands them on as parameters. Kubeflow's key of a
cached task holds the values of its parameters and the ids of its input artifacts: as long as the values are
the same the catalogue comes from the cache, with its id, and so does what depends on it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeflow.entrypoint import make_parser, prepare, run_and_exit
from kubeflow.executor_input import NOTHING
from medimg.errors import MedimgError

FINGERPRINTS = "Fingerprints"
COMMAND = ("python", "-m", "kubeflow.fingerprint_task")
# Task and parameter that a value goes to; it is called there as it is here.
CONSUMERS = {"data": "CatalogueGen", "baseline": "BaselineModel"}
# What is read, by the task that is given the same.
READ = {
    "CatalogueGen": ("data_set", "data_root", "previous", "split_file", "index", "scan"),
    "BaselineModel": ("serving",),
}


def add_fingerprints(pipeline: dict[str, Any]) -> None:
    """Puts the task into a spec, before those that need its values."""
    tasks = pipeline["root"]["dag"]["tasks"]
    inputs = {
        name: tasks[task]["inputs"]["parameters"][name] for task, names in READ.items() for name in names
    }
    text = {"parameterType": "STRING"}
    for value, task in CONSUMERS.items():
        tasks[task]["inputs"]["parameters"][value] = {
            "taskOutputParameter": {"producerTask": FINGERPRINTS, "outputParameterKey": value}
        }
        tasks[task]["dependentTasks"] = [FINGERPRINTS, *tasks[task].get("dependentTasks", [])]
    tasks[FINGERPRINTS] = {
        "taskInfo": {"name": FINGERPRINTS},
        "componentRef": {"name": FINGERPRINTS},
        "inputs": {"parameters": inputs},
    }
    pipeline["components"][FINGERPRINTS] = {
        "executorLabel": f"{FINGERPRINTS}_executor",
        "inputDefinitions": {"parameters": dict.fromkeys(inputs, text)},
        "outputDefinitions": {"parameters": dict.fromkeys(CONSUMERS, text)},
    }
    container = {"command": list(COMMAND), "args": ["--json_serialized_invocation_args", "{{$}}"]}
    pipeline["deploymentSpec"]["executors"][f"{FINGERPRINTS}_executor"] = {"container": container}


def write_fingerprints(message: Mapping[str, Any]) -> None:
    """Takes the fingerprints that an ExecutorInput asks for.

    One file for each, as the launcher expects output parameters.
    """
    from medimg.cases import ScanSettings
    from medimg.catalogue.build import data_fingerprint
    from medimg.datasets import find_data_set
    from pipeline.cache_keys import baseline_fingerprint, previous_fingerprint

    given = message["inputs"]["parameterValues"]
    check_state(Path(given["index"]).parent)
    data = data_fingerprint(
        find_data_set(given["data_set"], scan=ScanSettings(**json.loads(given["scan"]))),
        data_root=Path(given["data_root"]),
        index_path=Path(given["index"]),
        split_file=Path(given["split_file"]) if given["split_file"] else None,
    )
    values = {
        "data": data + previous_fingerprint(given["previous"]),
        # A word, because not every store of parameters distinguishes an empty text from none.
        "baseline": baseline_fingerprint(Path(given["serving"])) or NOTHING,
    }
    for name, parameter in message["outputs"]["parameters"].items():
        file = Path(parameter["outputFile"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(values[name])


def check_state(folder: Path) -> None:
    """Checks that the folder of what outlives the run can be written, before a model is trained.

    Raises:
        MedimgError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MedimgError(
            f"state {folder} cannot be written by user {os.getuid()} ({error.strerror}); "
            "expected a volume where this user can"
        ) from None


def main() -> None:
    """Ends with 0, or 1 and one line that names the task."""
    arguments, _ = make_parser().parse_known_args(sys.argv[1:])
    run_and_exit(arguments.component, lambda: write_fingerprints(prepare(arguments).message))


if __name__ == "__main__":
    main()
