"""BadImage files among good ones: each is catalogued or quarantined with a reason, and the work goes on."""

import shutil

from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.datasets import find_data_set


def test_every_malformed_file_has_a_place_and_the_good_ones_are_used(shared_data, tmp_path):
    data = tmp_path / "data"
    find_data_set("cmmd").write_phantom(data, cases=24, seed=1, rows=96, columns=80)
    good = len(list(data.rglob("*.dcm")))
    alone = build_catalogue(
        find_data_set("cmmd"), data_root=data, to=tmp_path / "alone", options=BuildOptions(SplitSettings())
    )
    corpus = sorted(path for path in (shared_data / "malformed").iterdir() if path.is_file())
    for number, path in enumerate(corpus):
        (data / "malformed").mkdir(exist_ok=True)
        shutil.copy(path, data / "malformed" / f"{number}.dcm")
    catalogue = build_catalogue(
        find_data_set("cmmd"), data_root=data, to=tmp_path / "both", options=BuildOptions(SplitSettings())
    )
    images = catalogue.images.set_index("path")
    others = sum(kind["files"]["total"] for kind in catalogue.summary["not_images"])
    assert sum(catalogue.summary["images"].values()) + others == good + len(corpus)
    assert len(images) + others == good + len(corpus)
    assert catalogue.summary["images"]["used"] == alone.summary["images"]["used"]
    strangers = images[images.index.str.startswith("malformed/")]
    assert len(strangers) + others == len(corpus)
    assert strangers.status.isin(["quarantined", "excluded", "unlabelled"]).all()
    assert (strangers.reason.str.len() > 0).all()
    assert not strangers.reason.str.contains("\n").any()
