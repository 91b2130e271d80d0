"""Record <-> tf.train.Example: the only place that knows the feature names.

| feature | kind | content |
|---|---|---|
| `case_id`, `group_id` | bytes | ids |
| `level_<name>` | bytes | id for rolling up |
| `label_<head>` | bytes | class name; absent where missing |
| `clinical_<column>` | bytes or float | text or number; absent where None |
| `shortcut_<head>` | float | probability of the positive class by what is known without the pixels; absent
unless asked for | | `image_<role>`, `mask_<role>` | bytes list | one PNG per slice, or a JPEG that came so;
exactly one for a 2-D image | | `image_<role>_affine`, `mask_<role>_affine` | 16 floats | row by row, (z, y,
x, 1) to mm; absent where unknown | | `image_<role>_rescale` | 2 floats | slope, intercept; absent where 1, 0
| | `box_<role>`, `box_<role>_label` | 4n floats, n bytes | ymin, xmin, ymax, xmax in pixels of the prepared
image | | `polygon_<role>`, `polygon_<role>_length`, `polygon_<role>_label` | floats, n ints, n bytes | y, x
pairs; vertices of each polygon; labels | | `block` | 5 ints | index, first slice, slices in this block,
slices of the study, 1 if last; absent where the case has one slice |

A study larger than `largest_bytes` becomes several Examples with the same case_id: blocks of consecutive
slices, all roles in step, each repeating everything but the slices. Floats are 32 bit. Not carried: the files
a case came from, its status and its split.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medimg.cases import Annotation, Case, Record, Stack, Value
from medimg.errors import MedimgError
from medimg.images.encoding import EncodedSlices, encode_png

LARGEST_BYTES = 32 * 2**20
"""Default limit for one serialized Example."""

BLOCK_LENGTH = 5
BLOCK_BYTES = 64
"""Upper bound for what the `block` feature adds."""
LENGTH_BYTES = 16
"""Upper bound of the protocol buffer's tags and lengths around one value or one feature."""
SUFFIXES = ("_affine", "_rescale", "_label", "_length")
"""A role that ended so could not be told from another role's feature."""

Features = dict[str, list[str | bytes | float | int]]
"""Values by feature name, of one kind each."""


def record_to_examples(record: Record, *, largest_bytes: int = LARGEST_BYTES) -> Iterator[bytes]:
    """Encodes a record as serialized Examples; the same record always gives the same bytes.

    Slices are taken from the stacks one index at a time and kept as PNG only, so at most one decoded slice of
    each role and one block are in memory.

    Args:
        record: any number of slices per role; a role with fewer slices than others is absent from the later
            blocks.
        largest_bytes: no Example is larger.

    Yields:
        one Example for a 2-D case, one or more blocks in slice order for a study.

    Raises:
        MedimgError: the slices of one index do not fit into largest_bytes, a stack yields another number of
            slices than it says, or a role's name ends like a feature's.
    """
    fixed = _make_message(_metadata(record))
    fixed_bytes = fixed.ByteSize() + BLOCK_BYTES + sum(len(name) + LENGTH_BYTES for name in _stacks(record))
    total = max((stack.count for stack in _stacks(record).values()), default=0)
    if fixed_bytes > largest_bytes:
        raise MedimgError(
            f"case {record.case.case_id}: {fixed_bytes} bytes without any slice, expected at most "
            f"{largest_bytes} per Example"
        )
    index, first = 0, 0
    block = _Block(fixed_bytes)
    for number, encoded in enumerate(_encoded_slices(record)):
        added = sum(len(png) + LENGTH_BYTES for png in encoded.values())
        if fixed_bytes + added > largest_bytes:
            raise MedimgError(
                f"case {record.case.case_id}: slice {number} takes {fixed_bytes + added} bytes, "
                f"expected at most {largest_bytes} per Example"
            )
        if block.size + added > largest_bytes:
            yield _serialize(fixed, block.slices | {"block": [index, first, number - first, total, 0]})
            index, first, block = index + 1, number, _Block(fixed_bytes)
        block.add(encoded, size=added)
    numbered = {"block": [index, first, total - first, total, 1]} if total > 1 else {}
    yield _serialize(fixed, block.slices | numbered)


def examples_to_record(serialized: Iterable[bytes]) -> Record:
    """Decodes what `record_to_examples` made of one case, blocks in any order.

    Slices stay PNG until a stack is iterated. Numbers of the clinical table come back as floats, boxes before
    polygons, names sorted.

    Raises:
        MedimgError: the Examples are of several cases, or a block is missing or there twice.
    """
    parsed = [_parse(example) for example in serialized]
    if not parsed:
        raise MedimgError("no Example, expected at least one")
    ids = sorted({values["case_id"][0].decode() for values in parsed})
    if len(ids) > 1:
        raise MedimgError(f"Examples of cases {', '.join(ids)}, expected blocks of one case")
    blocks = _in_order(parsed, case_id=ids[0])
    return Record(_case(blocks[0]), _join_roles(blocks, "image"), _join_roles(blocks, "mask"))


@dataclass
class _Block:
    """PNGs of consecutive slices by feature name, and the bytes that they will take."""

    size: int
    slices: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, encoded: Mapping[str, bytes], *, size: int) -> None:
        self.size += size
        for name, png in encoded.items():
            self.slices.setdefault(name, []).append(png)


def _stacks(record: Record) -> dict[str, Stack]:
    stacks = {f"image_{role}": stack for role, stack in record.images.items()}
    stacks |= {f"mask_{role}": stack for role, stack in record.masks.items()}
    return dict(sorted(stacks.items()))


def _encoded_slices(record: Record) -> Iterator[dict[str, bytes]]:
    """Yields the files of all roles, one slice index at a time: PNG, or what was encoded already as it is."""
    stacks = _stacks(record)
    # `map` holds no slice, which would live on while the next role's is made.
    iterators = {
        name: iter(stack.slices.files)
        if isinstance(stack.slices, EncodedSlices)
        else map(encode_png, stack.slices)
        for name, stack in stacks.items()
    }
    for number in itertools.count():
        encoded: dict[str, bytes] = {}
        for name, iterator in iterators.items():
            file = next(iterator, None)
            if (file is not None) != (number < stacks[name].count):
                found = f"ends after {number} slices" if file is None else f"has more than {number} slices"
                raise MedimgError(
                    f"case {record.case.case_id}: {name} {found}, expected {stacks[name].count}"
                )
            if file is not None:
                encoded[name] = file
        if not encoded:
            return
        yield encoded


def _metadata(record: Record) -> Features:
    """All features but slices and block."""
    case = record.case
    _check_names(record)
    features: Features = {"case_id": [case.case_id], "group_id": [case.group_id]}
    features |= {f"level_{name}": [level] for name, level in case.levels.items()}
    features |= {f"label_{head}": [label] for head, label in case.labels.items()}
    features |= {
        f"clinical_{name}": [_number_or_text(value)]
        for name, value in case.clinical.items()
        if value is not None
    }
    features |= {f"shortcut_{head}": [float(probability)] for head, probability in case.shortcuts.items()}
    for name, stack in _stacks(record).items():
        if stack.affine is not None:
            features[f"{name}_affine"] = [float(value) for value in np.asarray(stack.affine).ravel()]
        if (stack.slope, stack.intercept) != (1.0, 0.0):
            features[f"{name}_rescale"] = [float(stack.slope), float(stack.intercept)]
    return features | _annotation_features(case.annotations)


def _check_names(record: Record) -> None:
    roles = [*record.images, *record.masks, *(annotation.role for annotation in record.case.annotations)]
    for role in roles:
        if f"_{role}".endswith(SUFFIXES):  # `image_label` too would be taken for a feature of a role.
            raise MedimgError(
                f"case {record.case.case_id}: role {role!r}, expected a name that does not end with "
                f"{' or '.join(SUFFIXES)}"
            )


def _number_or_text(value: Value) -> str | float:
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def _annotation_features(annotations: Sequence[Annotation]) -> Features:
    features: Features = {}
    for annotation in annotations:
        name = f"{annotation.kind}_{annotation.role}"
        features.setdefault(name, []).extend(float(value) for point in annotation.points for value in point)
        features.setdefault(f"{name}_label", []).append(annotation.label)
        if annotation.kind == "polygon":
            features.setdefault(f"{name}_length", []).append(len(annotation.points))
    return features


def _serialize(fixed: Any, features: Features) -> bytes:
    """The message `fixed` and these features as one Example."""
    message = type(fixed)()
    message.CopyFrom(fixed)
    _add_features(message, features)
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def _make_message(features: Features) -> Any:
    from tensorflow.core.example import example_pb2

    message = example_pb2.Example()
    _add_features(message, features)
    return message


def _add_features(message: Any, features: Features) -> None:
    """Filled in place: a message that is made of others copies them, and with them the image."""
    for name, values in features.items():
        feature = message.features.feature[name]
        if isinstance(values[0], (bytes, str)):
            texts = (value.encode() if isinstance(value, str) else value for value in values)
            feature.bytes_list.value.extend(texts)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)


def _parse(serialized: bytes) -> dict[str, list[Any]]:
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(features[name], features[name].WhichOneof("kind")).value)
        for name in sorted(features)
    }


def _join_roles(blocks: Sequence[Mapping[str, list[Any]]], kind: str) -> dict[str, Stack]:
    roles: set[str] = set()
    for values in blocks:
        roles.update(_roles(values, kind))
    return {role: _join(blocks, f"{kind}_{role}") for role in sorted(roles)}


def _in_order(parsed: list[dict[str, list[Any]]], *, case_id: str) -> list[dict[str, list[Any]]]:
    """Sorts blocks by index and checks that together they are the whole study."""
    if len(parsed) == 1 and "block" not in parsed[0]:
        return parsed
    if not all("block" in values for values in parsed):
        raise MedimgError(
            f"case {case_id}: {len(parsed)} Examples, not all of them blocks, expected one Example or blocks"
        )
    blocks = sorted(parsed, key=lambda values: int(values["block"][0]))
    following = 0
    for number, values in enumerate(blocks):
        index, first, count, total, last = values["block"]
        if index != number or first != following:
            raise MedimgError(
                f"case {case_id}: block {index} starts at slice {first}, expected block {number} from "
                f"slice {following}"
            )
        following = first + count
    if not last or following != total:
        raise MedimgError(f"case {case_id}: the blocks end at slice {following}, expected {total} slices")
    return blocks


def _roles(values: Mapping[str, list[Any]], kind: str) -> list[str]:
    return [
        name.split("_", 1)[1]
        for name in values
        if name.startswith(f"{kind}_") and not name.endswith(SUFFIXES)
    ]


def _join(blocks: Sequence[Mapping[str, list[Any]]], name: str) -> Stack:
    pngs = tuple(png for values in blocks for png in values.get(name, ()))
    affine = blocks[0].get(f"{name}_affine")
    slope, intercept = blocks[0].get(f"{name}_rescale", (1.0, 0.0))
    return Stack(
        EncodedSlices(pngs),
        len(pngs),
        None if affine is None else np.array(affine).reshape(4, 4),
        slope,
        intercept,
    )


def _case(values: Mapping[str, list[Any]]) -> Case:
    def texts(prefix: str) -> dict[str, str]:
        return {
            name.removeprefix(prefix): found[0].decode()
            for name, found in values.items()
            if name.startswith(prefix)
        }

    def first(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): found[0] for name, found in values.items() if name.startswith(prefix)
        }

    return Case(
        case_id=values["case_id"][0].decode(),
        group_id=values["group_id"][0].decode(),
        images=(),
        levels=texts("level_"),
        labels=texts("label_"),
        clinical={
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in first("clinical_").items()
        },
        shortcuts=first("shortcut_"),
        annotations=(*_boxes(values), *_polygons(values)),
    )


def _boxes(values: Mapping[str, list[Any]]) -> Iterator[Annotation]:
    for role in _roles(values, "box"):
        corners_N22 = np.reshape(values[f"box_{role}"], (-1, 2, 2))
        for label, points in zip(values[f"box_{role}_label"], corners_N22, strict=True):
            yield Annotation(role, label.decode(), "box", tuple((float(y), float(x)) for y, x in points))


def _polygons(values: Mapping[str, list[Any]]) -> Iterator[Annotation]:
    for role in _roles(values, "polygon"):
        vertices = iter(np.reshape(values[f"polygon_{role}"], (-1, 2)))
        for label, length in zip(
            values[f"polygon_{role}_label"], values[f"polygon_{role}_length"], strict=True
        ):
            yield Annotation(
                role,
                label.decode(),
                "polygon",
                tuple((float(y), float(x)) for y, x in itertools.islice(vertices, length)),
            )
