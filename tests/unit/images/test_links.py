"""Links to folders outside: named once with the option that follows them, followed on request, loops end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from medimg.images.scan import list_files
from tests.faults.catalogued import LABELS, Catalogued, catalogue, noise, run_medimg, write_folder

COUNT = 12
OPTION = "a link that leads out of the data root, read with --follow-links (scan.follow_links of a config)"


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder whose pictures are on a NAS, behind one link; the table is here."""
    nas = write_folder(tmp_path / "nas" / "study", pictures=COUNT)
    root = tmp_path / "data"
    root.mkdir()
    rows = (nas / "labels.csv").read_text().splitlines()[1:]
    (nas / "labels.csv").unlink()
    (root / "labels.csv").write_text("\n".join([LABELS, *(f"images/{row}" for row in rows)]) + "\n")
    (root / "images").symlink_to(nas)
    return root


def used(found: Catalogued) -> int:
    assert found.code == 0, found.error
    counts = found.summary["images"]
    assert sum(counts.values()) == found.summary["input"]["images"]
    return counts["used"]


def test_a_folder_behind_a_link_is_read_on_request(data):
    found = catalogue(data, "--follow-links")
    assert used(found) == COUNT
    assert found.images.index[0] == "images/00.png"
    assert catalogue(data, "--set", "scan.follow_links=true").images.equals(found.images)


def test_links_are_not_followed_unasked_and_named_once_with_the_option(data):
    write_folder(data / "here", pictures=6)
    rows = (data / "here" / "labels.csv").read_text().splitlines()[1:]
    (data / "here" / "labels.csv").unlink()
    for index in range(6):
        Image.fromarray(noise(100 + index)).save(data / "here" / f"{index:02d}.png")
    (data / "00.png").symlink_to(data.parent / "nas" / "study" / "00.png")
    table = data / "labels.csv"
    mine = [f"here/{row.replace(',P', ',X')}" for row in rows]
    text = "\n".join([table.read_text().strip(), *mine])
    table.write_text(text.replace("images/00.png", "00.png") + "\n")
    found = catalogue(data)
    assert used(found) == 6
    assert found.status("images") == found.status("00.png") == ("quarantined", OPTION)
    assert found.out.count("--follow-links") == 1
    behind = ["00.png", *(f"images/{number:02d}.png" for number in range(1, COUNT))]
    assert set(found.cases.loc[behind, "reason"]) == {OPTION}
    # What is known of the links from one try holds for another only where they are treated alike.
    followed = catalogue(data, "--follow-links")
    assert used(followed) == 6 + COUNT
    assert catalogue(data).images.equals(found.images)


def test_a_root_of_nothing_but_links_is_refused_with_the_option(data):
    found = catalogue(data)
    assert (found.code, OPTION in found.error) == (2, True)


def test_loops_of_links_end_and_every_folder_is_listed_once(tmp_path):
    root, nas = tmp_path / "root", tmp_path / "nas"
    for place in (root / "own" / "a", nas / "one" / "deep", nas / "two"):
        place.mkdir(parents=True)
        (place / "x.png").touch()
    (root / "nas").symlink_to(nas)
    (root / "again").symlink_to(nas / "one")
    (root / "up").symlink_to("..")
    (root / "self").symlink_to(".")
    (root / "within").symlink_to("own")
    (root / "broken").symlink_to("nowhere")
    (nas / "one" / "two").symlink_to("../two")
    (nas / "two" / "one").symlink_to("../one")
    (nas / "back").symlink_to(root)
    found = list_files(root, follow_links=True)
    assert len(found) == len({os.path.realpath(root / path) for path in found}) == 4
    assert [path for path in found if path.endswith("x.png")] == [
        "again/deep/x.png", "again/two/x.png", "own/a/x.png"
    ]  # fmt: skip
    assert list_files(root) == ["again", "broken", "nas", "own/a/x.png", "up"]


def test_the_order_of_creation_does_not_matter(tmp_path):
    listed = []
    for names in (("a", "b", "c"), ("c", "b", "a")):
        root, nas = tmp_path / names[0] / "root", tmp_path / names[0] / "nas"
        root.mkdir(parents=True)
        for name in names:
            (nas / name).mkdir(parents=True)
            (nas / name / "x.png").touch()
            (root / name).symlink_to(nas / name)
        listed.append(list_files(root, follow_links=True))
    assert listed[0] == listed[1] == ["a/x.png", "b/x.png", "c/x.png"]


def test_init_looks_behind_links_on_request_and_names_the_setting(data):
    (data / "labels.csv").unlink()
    assert run_medimg("init", "folder", data)[0] == 2
    code, out, error = run_medimg("init", "folder", data, "--follow-links")
    assert code == 0, error
    assert f"{COUNT} images; fill in" in out
    assert out.count("--set scan.follow_links=true") == 2
    assert "images/00.png" in (data / "labels.csv").read_text(encoding="utf-8-sig")


def test_a_catalogue_says_whether_links_were_followed(data):
    catalogue(data, "--follow-links")
    summary = json.loads((data.with_name("data.cat") / "summary.json").read_text())
    assert summary["scan_settings"] == {"follow_links": True}
