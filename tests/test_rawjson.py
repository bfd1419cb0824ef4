"""JSON text into byte slices. That they are the right ones is shown with uploads and changes."""

import tracemalloc

import pytest

from backup_server import rawjson
from backup_server.errors import InvalidBackup


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a":', "it ends too early (byte 5)"),
        (b'{"a":NaN}', "(byte 5)"),
        (b'{"a":"\xf0\x9f\x98', "not valid UTF-8 (byte 6)"),
        *(
            (b'{"x":"' + b"a" * (at - 6) + bad + b'"}', f"not valid UTF-8 (byte {at})")
            for at in (6, 262_143, 262_144)
            for bad in (b"\xff", b"\xf0\x9f\x98")
        ),
        (b"{" + b",".join(b'"%d":0' % n for n in range(10_001)) + b"}", "more than 10000 members"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_is_wrong_is_told_and_where(text, words):
    with pytest.raises(InvalidBackup) as caught:
        rawjson.members(text)
    assert words in str(caught.value)


# An array of these is too long to hold all that could be its items.
OF_NUMBERS = b"[%s0]" % (b"0.5," * 1000)
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("items", "times", "count"),
    [
        (b"0", MILLION, MILLION),
        (b"{} ", MILLION, MILLION),
        (b'{"half":"\\ud83d","points":%s}' % OF_NUMBERS, 1200, 1200),
        (b'"%s",{},[]' % (b"x" * 100), 10_000, 30_000),
        (b"0", MILLION + 1, None),
        (b"{}", MILLION + 1, None),
        (b"{},[]", 500_001, None),
        (OF_NUMBERS, 1200, None),  # as many commas, in other items than objects
    ],
)
def test_items_are_counted_up_to_a_limit(items, times, count):
    array = b"[%s]" % b",".join([items] * times)
    if count:
        assert rawjson.count("x", array, MILLION) == count
    else:
        with pytest.raises(InvalidBackup, match="The member x has more than 1000000 items"):
            rawjson.count("x", array, MILLION)


@pytest.mark.parametrize("item", [b"{}", b"0"])
def test_too_many_items_are_refused_before_they_take_memory(item):
    array = b"[%s]" % b",".join([item] * MILLION)
    tracemalloc.start()
    with pytest.raises(InvalidBackup, match="more than 10 items"):
        rawjson.count("x", array, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
