import shutil

import pytest

from medimg.cases import Header
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import read_catalogue
from medimg.datasets import find_data_set
from medimg.datasets.tissue.cases import list_cases, list_classes, list_tables
from medimg.datasets.tissue.phantom import CLASSES, LOOKS, write_phantom
from medimg.errors import UsageError

RATIOS = (0.6, 0.2, 0.2)


def write_tiles(root, *paths):
    """Empty files stand for tiles: nothing here decodes them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return [Header(path, "jpeg", 1, "0" * 64, path, {}) for path in paths]


def build(root, to, **settings):
    return build_catalogue(
        find_data_set("tissue"),
        data_root=root,
        to=to,
        options=BuildOptions(SplitSettings(ratios=RATIOS, **settings), workers=1),
    )


def splits_of_groups(catalogue):
    return catalogue.cases[catalogue.cases["status"] == "used"].groupby("group_id")["split"].nunique()


def test_a_tile_has_its_folders_class_and_split_and_its_tables_source(tmp_path):
    headers = write_tiles(
        tmp_path, "train/lung/a b.jpg", "train/liver/c.jpg", "test/lung/d.jpg", "test/liver/deep/e.jpg"
    )
    (tmp_path / "test" / "liver_source_group.csv").write_text("file,source_group\ndeep/e.jpg,donor-1\n")
    cases = {case.images[0].path: case for case in list_cases(tmp_path, headers).cases}
    first, last = cases["train/lung/a b.jpg"], cases["test/liver/deep/e.jpg"]
    assert (first.case_id, first.group_id, first.labels, first.official_split) == (
        "train/lung/a%20b.jpg",
        "train/lung/a%20b.jpg",
        {"tissue": "lung"},
        "train",
    )
    assert (last.group_id, last.levels["source"], last.labels, last.official_split) == (
        "donor-1",
        "donor-1",
        {"tissue": "liver"},
        "test",
    )
    assert [path.name for path in list_tables(tmp_path)] == ["liver_source_group.csv"]


def test_class_folders_alone_have_no_official_split_and_may_be_of_any_classes(tmp_path):
    listing = list_cases(tmp_path, write_tiles(tmp_path, "aca/a.jpg", "scc/b.jpg", "stray.jpg"))
    assert list_classes(tmp_path) == {"tissue": ("aca", "scc")}
    assert {case.official_split for case in listing.cases} == {None}
    assert [(reject.path, reject.reason) for reject in listing.rejects] == [
        ("stray.jpg", "in no class folder")
    ]
    assert listing.anomalies[0].startswith("classes aca, scc: none of the Human Protein Atlas' twelve")
    assert not listing.is_published


def test_images_of_other_classes_get_neither_the_atlas_title_nor_its_licence(phantom, tmp_path):
    assert build(phantom, tmp_path / "atlas").summary["licence"] == "CC BY-SA 4.0"
    shutil.copytree(phantom, tmp_path / "tiles")
    for entry in sorted((tmp_path / "tiles").glob("*/*")):
        entry.rename(entry.with_name(f"my_{entry.name}"))
    summary = build(tmp_path / "tiles", tmp_path / "mine").summary
    assert (summary["title"], summary["licence"], summary["doi"]) == ("", "", "")


def test_tiles_without_a_source_and_rows_without_a_tile_are_counted(tmp_path):
    headers = write_tiles(tmp_path, "lung/a.jpg", "lung/b.jpg", "liver/c.jpg")
    (tmp_path / "lung_source_group.csv").write_text("file,source_group\na.jpg,one\ngone.jpg,two\n")
    assert list_cases(tmp_path, headers).anomalies == [
        "liver: no source of 1 of 1 tiles (first: c.jpg); each is a group of its own",
        "lung: no source of 1 of 2 tiles (first: b.jpg); each is a group of its own",
        "lung_source_group.csv: 1 of 2 rows name no image of lung (first: gone.jpg)",
    ]


def test_of_many_tiles_without_a_source_and_rows_without_a_tile_the_first_by_name_is_named(tmp_path):
    letters = "tsrqponmlkjihgfedcba"
    headers = write_tiles(
        tmp_path, "liver/x.jpg", "lung/known.jpg", *(f"lung/{letter}.jpg" for letter in letters)
    )
    rows = "".join(f"{letter}-gone.jpg,one\n" for letter in letters)
    (tmp_path / "lung_source_group.csv").write_text(f"file,source_group\nknown.jpg,one\n{rows}")
    assert list_cases(tmp_path, headers).anomalies[1:] == [
        "lung: no source of 20 of 21 tiles (first: a.jpg); each is a group of its own",
        "lung_source_group.csv: 20 of 21 rows name no image of lung (first: a-gone.jpg)",
    ]


@pytest.mark.parametrize(
    ("paths", "empty", "words"),
    [
        (
            ["lung/a.jpg", "skin1/b.jpg"],
            None,
            r"skin1: no class of the Human Protein Atlas' twelve; did you mean 'skin_1'\?",
        ),
        (
            ["lung/a.jpg", "skin_1/b.jpg"],
            "skin_2",
            r"skin_2: an empty class folder, expected images of skin_2; did you mean 'skin_1'\?",
        ),
        (
            ["train/one/a.jpg", "train/two/b.jpg", "test/one/c.jpg", "test/tow/d.jpg"],
            None,
            r"train: no class folder 'tow', which test has; did you mean 'two'",
        ),
        (["train/one/a.jpg", "train/two/b.jpg"], None, "test: no class folder 'one', which train has"),
        (
            ["train/one/a.jpg", "train/two/b.jpg", "validation/one/c.jpg"],
            None,
            "validation: no class folder 'two', which train has",
        ),
        (["one/a.jpg"], None, r"1 class folders \(one\), expected two or more"),
    ],
)
def test_a_class_folder_that_cannot_be_meant_is_named_with_the_nearest(tmp_path, paths, empty, words):
    headers = write_tiles(tmp_path, *paths)
    if empty:
        (tmp_path / empty).mkdir()
    with pytest.raises(UsageError, match=words):
        list_cases(tmp_path, headers)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.jpg,\n", "row 2: found file 'a.jpg' and source_group ''"),
        ("a.jpg,x\na.jpg,y\n", "row 3: a.jpg is of y"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_by_row(tmp_path, rows, words):
    headers = write_tiles(tmp_path, "lung/a.jpg", "liver/b.jpg")
    (tmp_path / "lung_source_group.csv").write_text(f"file,source_group\n{rows}")
    with pytest.raises(UsageError, match=words):
        list_cases(tmp_path, headers)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write_phantom(root, cases=8, seed=0)
    return root


def test_the_official_split_is_kept_eval_comes_from_train_and_the_leak_is_told(phantom, tmp_path):
    catalogue = build(phantom, tmp_path)
    used = catalogue.cases[catalogue.cases["status"] == "used"]
    assert set(zip(used["official_split"], used["split"], strict=True)) == {
        ("train", "train"),
        ("train", "eval"),
        ("test", "test"),
    }
    assert list(splits_of_groups(catalogue)[lambda counts: counts > 1].index) == ["donor-001", "donor-006"]
    assert catalogue.summary["leaks"] == [
        line for line in catalogue.summary["anomalies"] if line.startswith("leak: 2 of 8 groups")
    ]


def test_an_earlier_catalogue_keeps_its_groups_but_not_where_cases_were_dealt(phantom, tmp_path):
    build(phantom, tmp_path / "first")

    def build_again(**settings):
        options = BuildOptions(SplitSettings(ratios=RATIOS, **settings), tmp_path / "first", workers=1)
        return build_catalogue(
            find_data_set("tissue"), data_root=phantom, to=tmp_path / "second", options=options
        )

    again = build_again(seed=9)
    assert again.cases["split"].tolist() == read_catalogue(tmp_path / "first").cases["split"].tolist()
    with pytest.raises(
        UsageError, match="a catalogue that is split by group, expected one that is split by case"
    ):
        build_again(by="case")


def test_of_a_tile_in_train_and_test_the_one_in_test_stays(phantom, tmp_path):
    cases = build(phantom, tmp_path).cases.set_index("case_id")
    assert cases.loc["test/colon/donor-001-01.jpg", "status"] == "used"
    assert (
        cases.loc["train/colon/donor-001-01.jpg", "reason"]
        == "identical pixels as test/colon/donor-001-01.jpg, which stays"
    )


def test_the_phantoms_largest_class_is_twelve_times_its_smallest(phantom):
    assert list_classes(phantom) == {"tissue": tuple(sorted(CLASSES))}
    counts = [len(list((phantom / "train" / name).iterdir())) for name in CLASSES]
    assert max(counts) == 12 * min(counts) == 6 * max(look.tiles for look in LOOKS.values())


def test_the_same_arguments_draw_the_same_bytes(phantom, tmp_path):
    write_phantom(tmp_path, cases=8, seed=0)
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}
        for root in (phantom, tmp_path)
    ]
    assert files[0] == files[1]


def test_too_few_donors_for_a_phantom_are_refused(tmp_path):
    with pytest.raises(UsageError, match="phantom of 7 donors, expected at least 8"):
        write_phantom(tmp_path, cases=7, seed=0)


def test_of_the_real_tiles_no_source_is_in_two_splits_unless_each_tile_is_dealt_for_itself(
    shared_data, tmp_path
):
    real = shared_data / "tissue"
    grouped, random = build(real, tmp_path / "group"), build(real, tmp_path / "case", by="case")
    assert grouped.summary["input"]["cases"] == 884
    assert splits_of_groups(grouped).tolist() == [1] * 39
    assert grouped.summary["leaks"] == []
    assert splits_of_groups(random).gt(1).mean() > 0.9
    assert "split.by is case; figures are too good" in random.summary["leaks"][0]
