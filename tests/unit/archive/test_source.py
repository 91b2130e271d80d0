from medimg.archive.source import is_uid


def test_a_uid_has_at_most_64_characters():
    for length, accepted in ((63, True), (64, True), (65, False)):
        assert is_uid("1." + "2" * (length - 2)) == accepted
    for text in ("", ".", "..", "1.", ".1", "1..2", "1.a", "1 ", "1.\u0661"):
        assert not is_uid(text)
