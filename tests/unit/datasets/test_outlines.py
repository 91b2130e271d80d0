import pytest

from medimg.cases import Annotation, ImageRef
from medimg.datasets.outlines import (
    annotate,
    describe_unknown_images,
    list_lesion_tables,
    read_lesions,
    write_lesions,
)
from medimg.errors import UsageError

HEADER = "sop_instance_uid,label,kind,points\n"
POLYGON = Annotation("", "mass", "polygon", ((1.0, 2.5), (1.0, 9.0), (7.0, 4.0)))
BOX = Annotation("", "calcification", "box", ((0.0, 1.0), (4.0, 6.0)))


def test_what_is_written_is_read(tmp_path):
    write_lesions(tmp_path, {"1.2": [POLYGON, BOX], "1.3": [BOX]})
    assert read_lesions(tmp_path) == {"1.2": [POLYGON, BOX], "1.3": [BOX]}


def test_a_folder_without_the_file_has_no_outlines(tmp_path):
    assert list_lesion_tables(tmp_path) == []
    assert read_lesions(tmp_path) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "1.2,mass,polygon,1 2;3 4",
            r"lesions.csv row 3: 'polygon' of 2 points, expected a polygon of 3 or more or a box of 2",
        ),
        ("1.2,mass,box,1 2;3 4;5 6", r"row 3: 'box' of 3 points"),
        ("1.2,mass,circle,1 2;3 4", r"row 3: 'circle' of 2 points"),
        ("1.2,mass,polygon,1 2;3 4;5", r"row 3: points '1 2;3 4;5', expected `y x;y x;...`"),
        ("1.2,mass,polygon,a b;3 4;5 6", r"row 3: points 'a b;3 4;5 6'"),
    ],
)
def test_a_row_that_is_no_outline_is_named(tmp_path, row, message):
    (tmp_path / "lesions.csv").write_text(f"{HEADER}1.1,mass,box,1 2;3 4\n{row}\n")
    with pytest.raises(UsageError, match=message):
        read_lesions(tmp_path)


def test_outlines_get_the_role_of_the_image_that_they_lie_on():
    images = [
        ImageRef("a.dcm", "CC", sop_instance_uid="1.2"),
        ImageRef("b.dcm", "MLO", sop_instance_uid="1.3"),
        ImageRef("c.png", "image"),
    ]
    assert [(item.role, item.label) for item in annotate(images, {"1.3": [POLYGON, BOX]})] == [
        ("MLO", "mass"),
        ("MLO", "calcification"),
    ]


def test_outlines_of_images_that_are_not_here_are_told_in_one_line():
    outlines = {"1.2": [BOX], "1.3": [BOX], "1.4": [BOX]}
    assert describe_unknown_images(outlines, ["1.3"]) == [
        "lesions.csv: 2 of 3 outlined images are not here, 1.2 for one"
    ]
    assert describe_unknown_images(outlines, list(outlines)) == []
