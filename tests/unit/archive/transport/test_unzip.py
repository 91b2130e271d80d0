"""Zips from strangers: what is whole and harmless comes out as it went in, the rest is refused."""

import contextlib
import hashlib
import io
import stat
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg.archive.transport.unzip import extract, open_zip
from medimg.archive.transport.zip_checks import BadZip, ZipLimits
from medimg.errors import MedimgError
from tests.fakes.loopback import md5_of, pack

FILES = {"a/1-1.dcm": b"first" * 1000, "LICENSE": b"", "b/2-1.dcm": bytes(range(256)) * 9000}


def write(path, content):
    path.write_bytes(content)
    return path


def named(name, **attributes):
    """A zip with one member of that name, as it is written."""
    info = zipfile.ZipInfo("x" * len(name))
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(info, b"content")
    return written.getvalue().replace(info.filename.encode(), name.encode())


def patched(content, offset, form, value):
    """The zip with a field of its first entry in the central directory replaced."""
    changed = bytearray(content)
    struct.pack_into(form, changed, changed.index(b"PK\1\2") + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_out_as_they_went_in_under_names_of_our_own(tmp_path, method):
    path = write(tmp_path / "a.zip", pack({**FILES, "a/": b""}, method=method))
    (tmp_path / "to").mkdir()
    for member, (name, content) in zip(extract(path, to=tmp_path / "to"), FILES.items(), strict=True):
        assert (member.name, member.bytes) == (name, len(content))
        assert member.path.read_bytes() == content
        assert (member.md5, member.sha256) == (md5_of(content), hashlib.sha256(content).hexdigest())
        assert member.path.parent == tmp_path / "to"
        assert "dcm" not in member.path.name
        assert [member.path] == list(
            (tmp_path / "to").iterdir()
        )  # The next one is not unpacked before it is asked for.
        member.path.unlink()


def test_a_zip_that_was_streamed_states_its_sizes_behind_the_members(tmp_path):
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.written = bytearray()

        def writable(self):
            return True

        def write(self, block):
            self.written += block
            return len(block)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    path = write(tmp_path / "a.zip", pipe.written)
    assert [member.path.read_bytes() for member in extract(path, to=tmp_path)] == list(FILES.values())


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up.dcm",
        "a/../../up.dcm",
        "a/..",
        "..\\up.dcm",
        "C:\\up.dcm",
        "c:up.dcm",
        "\\\\host\\share",
        "//host/share",
        "a\0.dcm",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, name):
    path = write(tmp_path / "a.zip", named(name))
    with pytest.raises(BadZip, match="name that could lead elsewhere") as caught:
        list(extract(path, to=tmp_path))
    assert repr(name) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_links_and_special_files_are_refused(tmp_path, kind):
    path = write(tmp_path / "a.zip", named("link", create_system=3, external_attr=(kind | 0o777) << 16))
    with pytest.raises(BadZip, match=r"member 'link' is a link or another special file"):
        list(extract(path, to=tmp_path))


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (8, "<H", 1, "is encrypted"),
        (8, "<H", 0x40, "is encrypted"),
        (8, "<H", 0x41, "is encrypted"),
        (8, "<H", 0x2000, "is encrypted"),
        (10, "<H", 12, "compressed by method 12"),
        (10, "<H", 99, "compressed by method 99"),
        (24, "<I", 5_000_000, "unpacks to 5,000 bytes, expected 5,000,000"),
        (24, "<I", 4_999, "unpacks to more than the 4,999 bytes"),
        (16, "<I", 1, "damaged .*CRC"),
        (42, "<I", 7, "the last member reaches 2 bytes into the list of entries"),
        (20, "<I", 100, "damaged"),
    ],
)
def test_an_entry_that_states_something_else_than_there_is_is_refused(tmp_path, offset, form, value, reason):
    path = write(tmp_path / "a.zip", patched(pack({"a.dcm": b"x" * 5000}), offset, form, value))
    (tmp_path / "to").mkdir()
    with pytest.raises(BadZip, match=reason) as caught:
        list(extract(path, to=tmp_path / "to"))
    assert "a.zip" in str(caught.value)
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("stated", [5, 10_000_000])
def test_what_is_unpacked_never_depends_on_the_stated_size(tmp_path, stated):
    content = pack({"a.dcm": bytes(20_000_000)}, method=zipfile.ZIP_DEFLATED)
    path = write(tmp_path / "a.zip", patched(content, 24, "<I", stated))
    (tmp_path / "to").mkdir()
    tracemalloc.start()
    with pytest.raises(BadZip, match=f"unpacks to more than the {stated:,} bytes"):
        list(extract(path, to=tmp_path / "to"))
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ZipLimits(members=2), "3 entries .* expected 2"),
        (ZipLimits(directory_bytes=100), "a list of 163 bytes, expected 200,000 and 100 at most"),
        (
            ZipLimits(member_bytes=2_000_000),
            "'b/2-1.dcm' unpacks to 2,304,000 bytes, expected 2,000,000 at most",
        ),
        (ZipLimits(total_bytes=2_305_000), "unpacks to 2,309,000 bytes, expected 2,305,000 at most"),
        (
            ZipLimits(ratio=10, ratio_from_bytes=1_000_000),
            "'b/2-1.dcm' unpacks from .* at most 10 times as many",
        ),
        (ZipLimits(ratio=10, ratio_from_bytes=2_305_000), r"a.zip: unpacks from .* at most 10 times as many"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_before_anything_is_unpacked(tmp_path, limits, reason):
    path = write(tmp_path / "a.zip", pack(FILES, method=zipfile.ZIP_DEFLATED))
    with pytest.raises(BadZip, match=reason):
        next(extract(path, to=tmp_path, limits=limits))


def test_the_mask_of_a_mammogram_deflates_very_well_and_is_no_bomb(tmp_path):
    mask = bytearray(5000 * 4000)
    for row in range(2000, 2300):
        mask[row * 4000 + 1000 : row * 4000 + 1300] = b"\xff" * 300
    path = write(tmp_path / "a.zip", pack({"1-1.dcm": bytes(mask)}, method=zipfile.ZIP_DEFLATED))
    assert len(mask) / path.stat().st_size > 500
    assert [member.bytes for member in extract(path, to=tmp_path)] == [len(mask)]


def test_a_million_entries_are_refused_before_they_are_read(tmp_path):
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    path = tmp_path / "a.zip"
    for count in (0xFFFF, 1):  # As stated, and a lie; in both cases zipfile would go by the length.
        path.write_bytes(
            directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), 0, 0)
        )
        tracemalloc.start()
        with pytest.raises(BadZip, match="expected 200,000 at most"):
            next(extract(path, to=tmp_path, limits=ZipLimits(directory_bytes=100_000_000)))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_the_number_of_entries_is_read_from_zip64_too(tmp_path):
    content = bytearray(pack({f"{number}": b"" for number in range(66_000)}))
    assert content[-22 - 20 :][:4] == b"PK\6\7"
    path = write(tmp_path / "a.zip", content)
    with open_zip(path) as archive:
        assert len(archive.names) == 66_000
    with pytest.raises(BadZip, match="66,000 entries"), open_zip(path, limits=ZipLimits(members=65_999)):
        pass


def test_entries_that_share_bytes_are_refused(tmp_path):
    first = patched(pack({"a": b"x" * 1000}), 0, "<4s", b"PK\1\2")
    directory = first[first.index(b"PK\1\2") : -22]
    twice = (
        first[:-22]
        + directory.replace(b"a", b"b")
        + struct.pack(
            "<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, 2 * len(directory), len(first) - 22 - len(directory), 0
        )
    )
    path = write(tmp_path / "a.zip", twice)
    assert zipfile.ZipFile(path).namelist() == ["a", "b"]
    with pytest.raises(BadZip, match="member 'b' overlaps another one"):
        next(extract(path, to=tmp_path))


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", pack({"a": b"1", "b": b"2"}).replace(b"b", b"a"))
    with pytest.raises(BadZip, match="member 'a' is there twice"):
        next(extract(path, to=tmp_path))


def test_a_zip_cut_anywhere_is_refused(tmp_path):
    whole = pack({"a.dcm": b"x" * 300, "b.dcm": b"y" * 300})
    for size in range(len(whole)):
        path = write(tmp_path / "a.zip", whole[:size])
        with pytest.raises(
            BadZip, match=r"a\.zip: (no zip archive, or not the whole of one|a list of entries)"
        ):
            next(extract(path, to=tmp_path))


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html>\n<html>", b"", b"PK", b"Image with given SeriesInstanceUID"]
)
def test_what_is_no_zip_says_how_it_begins(tmp_path, content):
    path = write(tmp_path / "a.zip", content)
    with pytest.raises(BadZip) as caught:
        next(extract(path, to=tmp_path, name="https://archive/getImage"))
    assert (
        str(caught.value)
        == f"https://archive/getImage: no zip archive, or not the whole of one ({len(content)} bytes, "
        f"begins with {content!r})"
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadZip, match=r"nowhere\.zip: cannot be read \(No such file or directory\)"):
        next(extract(tmp_path / "nowhere.zip", to=tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    path = write(tmp_path / "a.zip", pack(FILES))
    with pytest.raises(
        MedimgError, match=r"nowhere/[0-9a-f]{32}: cannot be written \(No such file or directory\)"
    ) as caught:
        next(extract(path, to=tmp_path / "nowhere"))
    assert not isinstance(caught.value, BadZip)


def test_a_small_member_can_be_read_whole_and_a_large_one_not(tmp_path):
    path = write(tmp_path / "a.zip", pack(FILES))
    with open_zip(path) as archive:
        assert archive.read("a/1-1.dcm", limit_bytes=5000) == FILES["a/1-1.dcm"]
        with pytest.raises(BadZip, match=r"'a/1-1\.dcm' has 5,000 bytes, expected 4,999 at most"):
            archive.read("a/1-1.dcm", limit_bytes=4999)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_whatever_bytes_change_the_right_content_comes_out_or_one_refusal(tmp_path, changes, method):
    files = {"a.dcm": b"first " * 20, "b.dcm": b"second" * 20}
    content = pack(files, method=method)
    for place, change in changes:
        content[int(place * len(content))] ^= change
    path = write(tmp_path / "a.zip", content)
    found = []
    with contextlib.suppress(BadZip):
        found += [member.path.read_bytes() for member in extract(path, to=tmp_path)]
    # Names may change without anybody noticing, and an entry may become invisible; content never.
    assert all(one in files.values() for one in found)
    for left in tmp_path.iterdir():
        left.unlink()
