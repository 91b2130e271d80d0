"""Where an artifact is while a task runs.

The launcher of Kubeflow Pipelines downloads `minio://bucket/key` to `/minio/bucket/key`. It uploads the
outputs from there as well; the same holds for s3 (`/s3`) and gs (`/gcs`). Vertex AI mounts its buckets at
`/gcs`. So a task reads and writes plain files, and the image needs no client of any object store.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDERS = {"gs": "gcs", "minio": "minio", "s3": "s3"}
SCHEMES = ", ".join(f"{scheme}://" for scheme in FOLDERS)
# The launcher's own variable for debugging without a cluster: what stands in front of these folders.
ROOT_VARIABLE = "ARTIFACT_LOCAL_PATH"
URI = re.compile(rf"(?<![\w.+-])({'|'.join(FOLDERS)})://(?=[^/\s])")


def local_root() -> str:
    """What stands in front of the launcher's folders: nothing, unless its own variable says otherwise."""
    return os.environ.get(ROOT_VARIABLE, "").rstrip("/")


def is_uri(text: str) -> bool:
    """Whether the whole text is one URI of an object store."""
    return URI.match(text) is not None


def to_local(text: str, *, root: str = "") -> str:
    """The text with every URI of an object store in it (it may be JSON) as the local path.

    Anything else stays.
    """
    return URI.sub(lambda found: f"{root}/{FOLDERS[found[1]]}/", text)


def holds_files(path: Path) -> bool:
    """Whether the path is a file or a folder with a file somewhere below.

    Object stores know no empty folders.
    """
    return path.is_file() or any(below.is_file() for below in path.rglob("*"))
