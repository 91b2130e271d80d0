"""URIs of object stores become the paths that the launcher downloads to, wherever they stand in a text."""

from __future__ import annotations

import pytest

from kubeflow.uris import holds_files, is_uri, to_local


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("minio://mlpipeline/v2/artifacts", "/minio/mlpipeline/v2/artifacts"),
        ("s3://bucket/a b", "/s3/bucket/a b"),
        ("gs://bucket", "/gcs/bucket"),
        (
            '{"filesystem": {"base_directory": "gs://bucket/models"}}',
            '{"filesystem": {"base_directory": "/gcs/bucket/models"}}',
        ),
        ("/data/cmmd", "/data/cmmd"),
        ("https://doi.org/10.7937", "https://doi.org/10.7937"),
        ("logs://bucket and gs:// alone", "logs://bucket and gs:// alone"),
    ],
)
def test_a_uri_becomes_the_launchers_path_and_other_text_stays(text, local):
    assert to_local(text) == local


def test_a_root_of_ones_own_stands_before_the_launchers_folders():
    assert to_local("minio://bucket/key", root="/tmp/root") == "/tmp/root/minio/bucket/key"


def test_only_a_whole_uri_is_one():
    assert is_uri("minio://bucket/key")
    assert not is_uri("see minio://bucket/key")
    assert not is_uri("/minio/bucket/key")


def test_folders_without_a_file_hold_nothing(tmp_path):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    assert not holds_files(tmp_path / "empty")
    assert not holds_files(tmp_path / "absent")
    assert holds_files(tmp_path / "full")
    assert holds_files(tmp_path / "full" / "a.txt")
