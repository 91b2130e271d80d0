"""Which folders are classes, which tables name their donors, and what is refused."""

import pytest

from medimg.cases import Header
from medimg.datasets.tissue.cases import list_cases, list_classes
from medimg.errors import UsageError


def write_tiles(root, *paths):
    """Empty files stand for tiles: nothing here decodes them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return [
        Header(path, "jpeg", 1, f"sha256 of {path}", path, {"SOPInstanceUID": f"uid of {path}"})
        for path in paths
    ]


def write_sources(path, *rows):
    path.write_text("\n".join(["file,source_group", *rows]) + "\n")


@pytest.mark.parametrize("folder", [".git", "_drafts", "__MACOSX"])
@pytest.mark.parametrize("within", ["", "train/", "test/"])
def test_folders_that_a_desktop_or_a_tool_leaves_behind_are_no_classes(tmp_path, folder, within):
    paths = [f"{split}/{name}/a.jpg" for split in ("train", "test") for name in ("one", "two")]
    headers = write_tiles(tmp_path, *(paths if within else ("one/a.jpg", "two/b.jpg")))
    write_tiles(tmp_path, f"{within}{folder}/c.jpg")
    assert list_classes(tmp_path) == {"tissue": ("one", "two")}
    assert len(list_cases(tmp_path, headers).cases) == len(headers)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_a_desktop_leaves_behind_does_not_fill_a_class_folder(tmp_path, name):
    write_tiles(tmp_path, "one/a.jpg", f"two/deep/{name}")
    with pytest.raises(UsageError, match="two: an empty class folder, expected images of two"):
        list_classes(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_one_side_lacks_is_named_for_either_side(tmp_path, split):
    other = "test" if split == "train" else "train"
    write_tiles(tmp_path, *(f"{side}/{name}/a.jpg" for side in ("train", "test") for name in ("one", "two")))
    write_tiles(tmp_path, f"{other}/three/a.jpg")
    with pytest.raises(UsageError, match=f"{split}: no class folder 'three', which {other} has"):
        list_classes(tmp_path)


def test_one_class_in_both_splits_is_not_enough(tmp_path):
    write_tiles(tmp_path, "train/one/a.jpg", "test/one/b.jpg")
    with pytest.raises(UsageError, match=r"1 class folders \(one\), expected two or more"):
        list_classes(tmp_path)


@pytest.mark.parametrize("name", ["train", "test"])
def test_an_empty_split_is_no_class(tmp_path, name):
    write_tiles(tmp_path, f"{name}/a.jpg")
    with pytest.raises(UsageError, match=r"0 class folders"):
        list_classes(tmp_path)


@pytest.mark.parametrize("split", ["", "train/", "test/"])
def test_a_table_of_no_class_folder_is_refused_wherever_it_is(tmp_path, split):
    sides = ("train/", "test/") if split else ("",)
    write_tiles(tmp_path, *(f"{side}{name}/a.jpg" for side in sides for name in ("one", "two")))
    write_sources(tmp_path / f"{split}tow_source_group.csv", "a.jpg,donor-1")
    with pytest.raises(
        UsageError, match=r"tow_source_group\.csv: sources of no class folder; did you mean 'two_source_group"
    ):
        list_classes(tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a.jpg,"], "row 2: found file 'a.jpg' and source_group '', expected both"),
        ([",donor-1"], "row 2: found file '' and source_group 'donor-1', expected both"),
        (["a.jpg,x", "b.jpg,y", "a.jpg,y"], "row 4: a.jpg is of y, an earlier row says x"),
    ],
)
def test_a_row_that_names_half_or_contradicts_is_refused(tmp_path, rows, words):
    headers = write_tiles(tmp_path, "one/a.jpg", "two/b.jpg")
    write_sources(tmp_path / "one_source_group.csv", *rows)
    with pytest.raises(UsageError, match=f"one_source_group.csv {words}"):
        list_cases(tmp_path, headers)


def test_a_tile_has_uid_hash_and_levels_with_a_source_and_without(tmp_path):
    headers = write_tiles(tmp_path, "one/a.jpg", "one/b.jpg", "two/a.jpg")
    write_sources(tmp_path / "one_source_group.csv", "a.jpg,donor-1", "a.jpg,donor-1")
    cases = list_cases(tmp_path, headers[::-1]).cases
    assert [(case.case_id, case.levels["tile"], case.levels["source"], case.group_id) for case in cases] == [
        ("one/a.jpg", "one/a.jpg", "donor-1", "donor-1"),
        ("one/b.jpg", "one/b.jpg", "one/b.jpg", "one/b.jpg"),
        # The table beside one class says nothing of a tile of that name in another.
        ("two/a.jpg", "two/a.jpg", "two/a.jpg", "two/a.jpg"),
    ]
    assert [(case.images[0].sop_instance_uid, case.images[0].sha256) for case in cases] == [
        (f"uid of {case.case_id}", f"sha256 of {case.case_id}") for case in cases
    ]
    assert [case.labels for case in cases] == [{"tissue": "one"}, {"tissue": "one"}, {"tissue": "two"}]


def test_tiles_of_a_folder_whose_name_begins_like_anothers_are_counted_apart(tmp_path):
    headers = write_tiles(tmp_path, "organ/a.jpg", "organ/b.jpg", "organ_2/a.jpg", "organ_2/c.jpg")
    write_sources(tmp_path / "organ_source_group.csv", "a.jpg,one", "b.jpg,one", "gone.jpg,two")
    assert list_cases(tmp_path, headers).anomalies[1:] == [
        "organ_source_group.csv: 1 of 3 rows name no image of organ (first: gone.jpg)",
        "organ_2: no source of 2 of 2 tiles (first: a.jpg); each is a group of its own",
    ]


def test_the_nearest_folder_above_a_tile_is_its_class(tmp_path):
    headers = write_tiles(tmp_path, "one/two/a.jpg", "two/one/b.jpg")
    assert [case.labels["tissue"] for case in list_cases(tmp_path, headers).cases] == ["one", "two"]


def test_one_strange_class_makes_the_data_unpublished(tmp_path):
    listing = list_cases(tmp_path, write_tiles(tmp_path, "one/a.jpg", "two/b.jpg"))
    assert not listing.is_published
    (tmp_path / "atlas").mkdir()
    published = list_cases(tmp_path / "atlas", write_tiles(tmp_path / "atlas", "lung/a.jpg", "liver/b.jpg"))
    assert published.is_published
    assert not any("Human Protein Atlas" in line for line in published.anomalies)
