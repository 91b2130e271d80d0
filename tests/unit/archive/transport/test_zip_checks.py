"""Names, kinds, sizes and ratios of a zip: just what is allowed is unpacked, one more is refused."""

import stat
import struct
import zipfile

import pytest

from medimg.archive.transport.unzip import extract, open_zip
from medimg.archive.transport.zip_checks import ZIP_LIMITS, BadZip, ZipLimits
from tests.fakes.loopback import pack
from tests.unit.archive.transport.test_unzip import FILES, named, write


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_without_an_upper_limit_is_refused(tmp_path, method):
    path = write(tmp_path / "a.zip", pack({"a.dcm": b"x" * 500}, method=method))
    with pytest.raises(BadZip, match=rf"compressed by method {method}, expected 0 \(stored\) or 8"):
        list(extract(path, to=tmp_path))


def test_a_link_is_one_whatever_system_the_archive_says_it_is_from(tmp_path):
    for system in (0, 3, 19):
        content = named("link", create_system=system, external_attr=(stat.S_IFLNK | 0o777) << 16)
        path = write(tmp_path / "a.zip", content)
        with pytest.raises(BadZip, match="is a link or another special file"):
            list(extract(path, to=tmp_path))


@pytest.mark.parametrize("name", ["a..b", "..a", "a/...", "C", "1:2"])
def test_a_name_that_only_looks_odd_is_unpacked(tmp_path, name):
    path = write(tmp_path / "a.zip", named(name))
    (tmp_path / "to").mkdir()
    assert [member.name for member in extract(path, to=tmp_path / "to")] == [name]


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("members", 3),
        ("directory_bytes", 163),
        ("member_bytes", 2_304_000),
        ("total_bytes", 2_309_000),
    ],
)
def test_just_as_much_as_a_limit_allows_is_unpacked_and_one_more_is_not(tmp_path, limit, most):
    path = write(tmp_path / "a.zip", pack(FILES, method=zipfile.ZIP_DEFLATED))
    (tmp_path / "to").mkdir()
    assert len(list(extract(path, to=tmp_path / "to", limits=ZipLimits(**{limit: most})))) == 3
    with pytest.raises(BadZip, match=f"expected {most - 1:,}|and {most - 1:,} at most"):
        list(extract(path, to=tmp_path / "to", limits=ZipLimits(**{limit: most - 1})))


def test_the_ratio_counts_from_its_limit_on_for_a_member_and_for_all(tmp_path):
    """Ten members that each unpack from 10 bytes to 1,000, as far as the list says."""
    packed = b"0123456789"
    for count, limits, refused in (
        (1, ZipLimits(ratio=100, ratio_from_bytes=0), ""),
        (
            1,
            ZipLimits(ratio=99, ratio_from_bytes=0),
            "member '0' unpacks from 10 bytes to 1,000, .* 99 times",
        ),
        (1, ZipLimits(ratio=1, ratio_from_bytes=1000), ""),
        (1, ZipLimits(ratio=1, ratio_from_bytes=999), "member '0' unpacks from 10 bytes to 1,000"),
        (10, ZipLimits(ratio=100, ratio_from_bytes=1000), ""),
        (10, ZipLimits(ratio=1, ratio_from_bytes=10_000), ""),
        (
            10,
            ZipLimits(ratio=1, ratio_from_bytes=9_999),
            r"a\.zip: unpacks from 100 bytes to 10,000, .* 1 times",
        ),
        (
            10,
            ZipLimits(ratio=99, ratio_from_bytes=1000),
            r"a\.zip: unpacks from 100 bytes to 10,000, .* 99 times",
        ),
    ):
        content = bytearray(pack({str(number): packed for number in range(count)}))
        at = -1
        for _ in range(count):
            at = content.index(b"PK\1\2", at + 1)
            struct.pack_into("<I", content, at + 24, 1000)
        path = write(tmp_path / "a.zip", content)
        if refused:
            with pytest.raises(BadZip, match=refused), open_zip(path, limits=limits):
                pass
        else:
            with open_zip(path, limits=limits) as archive:
                assert len(archive.names) == count


@pytest.mark.parametrize(("shift", "reason"), [(-1, "member 'b' overlaps another one"), (0, "")])
def test_a_member_may_begin_where_the_one_before_has_ended_and_no_byte_earlier(tmp_path, shift, reason):
    """The header without its name is what every member takes at least: 30 bytes and its content."""
    content = bytearray(pack({"a": b"1" * 100, "b": b"2" * 100}))
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    struct.pack_into("<I", content, second + 42, 130 + shift)
    path = write(tmp_path / "a.zip", content)
    if reason:
        with pytest.raises(BadZip, match=reason), open_zip(path):
            pass
    else:
        with open_zip(path) as archive:
            assert archive.names == ("a", "b")


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_a_member_may_reach_to_the_list_of_entries_and_no_byte_further(tmp_path, more, refused):
    content = pack({"a": b"1" * 100})
    length = content.index(b"PK\1\2") - 30 + more
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 20, length)
    path = write(tmp_path / "a.zip", content)
    if refused:
        with pytest.raises(BadZip, match="the last member reaches 1 bytes into the list"), open_zip(path):
            pass
    else:
        with open_zip(path) as archive:
            assert archive.names == ("a",)


def test_the_limits_let_the_largest_archives_through():
    assert ZipLimits(200_000, 64_000_000, 16_000_000_000, 500_000_000_000, 200, 1_000_000_000) == ZIP_LIMITS
