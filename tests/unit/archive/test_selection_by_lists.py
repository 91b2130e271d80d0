"""Series that are chosen by a manifest of another tool, or by a UID of another level."""

import pytest

from medimg.archive.plan import Selection, read_manifest, select
from medimg.archive.source import Series
from medimg.errors import UsageError

KEYS = [f"{number:08x}-1111-4222-8333-444455556666" for number in range(3)]
LISTED = [
    Series(f"1.2.{number}", patient_id=f"P{number}", study_uid=f"1.9.{number}", key=key)
    for number, key in enumerate(KEYS)
]


@pytest.mark.parametrize(
    "line",
    [
        "cp s3://idc-open-data/{}/* .",
        "cp 's3://idc-open-data/{}/*' cmmd/",
        "cp --show-progress s3://idc-open-data-cr/{}/* /data/series",
        "cp s3://public-datasets-idc/{}/*.dcm .",
    ],
)
def test_a_manifest_of_idc_names_series_by_their_folder(tmp_path, line):
    manifest = tmp_path / "cart.s5cmd"
    lines = [
        "# To download the files in this manifest, install s5cmd",
        line.format(KEYS[2]),
        "",
        line.format(KEYS[0]),
    ]
    manifest.write_text("\n".join(lines) + "\n")
    assert read_manifest(manifest) == (KEYS[2], KEYS[0])
    chosen = select(LISTED, Selection(manifest=manifest))
    assert sorted(one.uid for one in chosen) == ["1.2.0", "1.2.2"]


@pytest.mark.parametrize(
    "line", ["cp s3://idc-open-data/ .", "cp s3://idc-open-data/notes/* .", "rm s3://b/{}/* ."]
)
def test_a_line_that_copies_no_series_is_named(tmp_path, line):
    manifest = tmp_path / "cart.s5cmd"
    manifest.write_text(f"cp s3://idc-open-data/{KEYS[0]}/* .\n{line.format(KEYS[1])}\n")
    with pytest.raises(UsageError, match=r"cart\.s5cmd, line 2: .* expected one SeriesInstanceUID"):
        read_manifest(manifest)


def test_a_series_of_a_manifest_that_is_not_listed_is_named(tmp_path):
    manifest = tmp_path / "cart.s5cmd"
    unknown = KEYS[0].replace("1111", "2222")
    manifest.write_text(f"cp s3://idc-open-data/{unknown}/* .\n")
    with pytest.raises(UsageError, match=f"{unknown} not in the list of 3 series"):
        select(LISTED, Selection(manifest=manifest))


def test_a_study_given_as_a_series_is_recognised():
    with pytest.raises(
        UsageError, match=r"1\.9\.1 is a StudyInstanceUID, expected a SeriesInstanceUID"
    ) as refused:
        select(LISTED, Selection(series_uids=("1.9.1",)))
    where = str(refused.value).split('--where "')[1].rstrip('"')
    assert [one.uid for one in select(LISTED, Selection(where=where))] == ["1.2.1"]
