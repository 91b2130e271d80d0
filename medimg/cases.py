"""The nouns of the pipeline: Header, ImageRef, Annotation, Case, Stack, Record, DataSet.

A Case is metadata only; a Record is the same case with its decoded arrays, on its way into a
tf.train.Example. Array axes: H rows, W columns, C channels, D slices, always in this order (z, y, x). Points
are (y, x) in pixels of the stored image, pixel centres at whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Status = Literal["used", "unlabelled", "excluded", "quarantined"]
"""Where an input ended up. For images and for cases alike, the four counts add up to the input."""

Value = str | int | float | None

Tags = Mapping[str, Any]
"""Header attributes by DICOM keyword: text, numbers, lists of these, or a sequence as a list of mappings."""

PHANTOM_FILE = "PHANTOM.txt"
"""Stands in the root of drawn data, so that no report can pass them off as patients."""


@dataclass(frozen=True)
class Header:
    """What one image file says of itself; no pixels.

    Attributes:
        path: POSIX path relative to the data root.
        kind: file format: "dicom", or a picture's: "png", "jpeg", "tiff", "bmp", "webp".
        size: bytes.
        sha256: of the file's bytes.
        pixel_hash: of the decoded stored values and their shape, so the same pixels in another transfer
            syntax or file have the same hash.
        tags: JSON-able values by DICOM keyword; a sequence is a list of such mappings. For pictures:
            Rows, Columns, BitsStored, SamplesPerPixel, PhotometricInterpretation.
    """

    path: str
    kind: str
    size: int
    sha256: str
    pixel_hash: str
    tags: Tags


@dataclass(frozen=True)
class ImageRef:
    """One stored image (or one slice) of a case.

    Attributes:
        path: POSIX path relative to the data root.
        role: the view or sequence it plays in the case: "CC", "MLO", "T1c", "image".
        frame: 0-based frame within the file.
        sop_instance_uid: (0008,0018), empty for files that are not DICOM.
        sha256: of the file's bytes when it was catalogued.
    """

    path: str
    role: str
    frame: int = 0
    sop_instance_uid: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Annotation:
    """A finding outlined on the image of one role.

    Attributes:
        role: the role of the image that it lies on.
        label: what it is: "mass", "calcification".
        kind: "box" (two points: smallest and largest corner) or "polygon" (three or more vertices).
        points: (y, x) in pixels of the stored image.
    """

    role: str
    label: str
    kind: Literal["box", "polygon"]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Case:
    """What carries one label per head and gets one prediction: a breast, a lesion, a study.

    Attributes:
        case_id: unique in the data set.
        group_id: what must never be split: the patient, the lesion, the donor.
        images: in a fixed order; several slices may share one role.
        levels: ids for rolling up, finest first: {"breast": "D1-0001-L", "patient": "D1-0001"}.
        labels: head to class name; a head without a label is absent. Empty: the case is unlabelled.
        clinical: columns of the clinical table and acquisition facts; None where unknown.
        shortcuts: head to the probability of its positive class by what is known without the pixels
            (medimg.evaluation.classification.shortcuts).
        annotations: boxes and polygons on the images.
        masks: images whose pixels are labels, role by role like `images`.
        official_split: the split that the data set's publisher assigns, if any.
        status, reason: where the case ended up and why.
        unread: paths of files that a table names for it and that are not among the images. The catalogue
            gives such a case the reason of its file, and counts it.
    """

    case_id: str
    group_id: str
    images: tuple[ImageRef, ...]
    levels: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    clinical: Mapping[str, Value] = field(default_factory=dict)
    shortcuts: Mapping[str, float] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    masks: tuple[ImageRef, ...] = ()
    official_split: str | None = None
    status: Status = "used"
    reason: str = ""
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reject:
    """A file that belongs to no usable case; `status` is excluded or quarantined."""

    path: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a data set makes of its headers and tables.

    Every header's path is in a case or in `rejects`, never in both, never in neither.

    Attributes:
        cases: every case, whatever its status.
        rejects: files without a usable case.
        anomalies: one line each for what the tables and headers contradict (a row without images, a wrong
            age), for the summary.
        is_published: whether this is the published data set; if not, its title, licence, DOI and literature
            do not speak of these images.
    """

    cases: Sequence[Case]
    rejects: Sequence[Reject] = ()
    anomalies: Sequence[str] = ()
    is_published: bool = True


@dataclass(frozen=True)
class Stack:
    """The slices of one role, produced one at a time so that a study is never whole in memory.

    Attributes:
        slices: yields arrays HW (or HWC), uint8 or uint16, each time it is iterated.
        count: number of slices.
        affine: 4x4, maps (z, y, x, 1) indices to DICOM patient coordinates in mm, or None where the geometry
            is unknown.
        slope, intercept: stored value * slope + intercept = the modality's value (HU, normalised intensity).
    """

    slices: Iterable[np.ndarray]
    count: int
    affine: np.ndarray | None = None
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class Record:
    """A case with its decoded pixels. A 2-D image is a stack of one slice.

    Attributes:
        case: the metadata; its annotations' points are already in pixels of the prepared image.
        images: role to stack.
        masks: role to stack of label maps (0 is background).
        flags: what a person should look at, one line each that names the file.
    """

    case: Case
    images: Mapping[str, Stack]
    masks: Mapping[str, Stack] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSettings:
    """How the label column of a user's own table is read.

    Attributes:
        keep: values that are classes though they usually mean that a value is missing: "none", "NA". Case
            does not matter.
    """

    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScanSettings:
    """Where images are looked for.

    Attributes:
        follow_links: also behind links that lead out of the data root, to a NAS; each folder once.
    """

    follow_links: bool = False


@dataclass(frozen=True)
class DataSet:
    """One data set: where its facts live. One file in medimg/datasets/ each.

    Attributes:
        name: the community's short name; also names the schema, the phantom writer and the configs.
        title: for people.
        task: "classification", "detection" or "segmentation".
        licence, doi: of the published data, empty for a user's own folder.
        levels: names of the case's levels, finest first; the first is the level of a case, the last that of a
            group.
        roles: image roles in their fixed order.
        targets: label name to its classes, the positive class last; classes may be empty where only the data
            tell (see `list_classes`).
        stratify_by: clinical columns that the split balances beside the first head's label.
        published_ids: regular expression of the PatientIDs under which the collection is published. Any other
            reaches the data set as `hash_patient` names it: a hospital's own ids are never copied.
        list_cases: (root, headers) to Listing; reads tables, never a pixel. Raises UsageError for a missing
            or unreadable table.
        list_tables: root to the clinical tables that it would read, for fingerprints.
        list_classes: root to targets, where `targets` leaves classes open; reads tables only.
        list_columns: root to the clinical columns that the curated schema cannot know, each with its type,
            "id" for text of which nothing can be learnt, each patient having another; reads tables only.
        write_phantom: (to, cases, seed) writes a small stand-in of the layout, tables included.
        write_template: (root, headers) writes a table to fill in and settings to start from beside a user's
            own images, and returns what it did, line by line; None where the publisher writes the table.
        with_labels: the same data set with its labels read so; None where the classes are fixed.
        labels: how its labels are read, see `with_labels`.
        scan: where its images are looked for.
    """

    name: str
    title: str
    task: str
    licence: str
    doi: str
    levels: tuple[str, ...]
    roles: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]
    list_cases: Callable[[Path, Sequence[Header]], Listing]
    list_tables: Callable[[Path], Sequence[Path]]
    write_phantom: Callable[..., None]
    stratify_by: tuple[str, ...] = ()
    published_ids: str = ""
    list_classes: Callable[[Path], Mapping[str, tuple[str, ...]]] | None = None
    list_columns: Callable[[Path], Mapping[str, Literal["number", "text", "id"]]] | None = None
    write_template: Callable[[Path, Sequence[Header]], Sequence[str]] | None = None
    with_labels: Callable[[LabelSettings], DataSet] | None = None
    labels: LabelSettings = LabelSettings()
    scan: ScanSettings = ScanSettings()

    @property
    def group_noun(self) -> str:
        """What a group of cases is called: "patient", "lesion"."""
        return self.levels[-1]
