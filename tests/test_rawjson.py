"""JSON text into byte slices: as Python's own reader reads it, to the byte."""

import oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import bodies, broken

from backup_server import rawjson
from backup_server.errors import InvalidBackup


def members(text: bytes) -> oracle.Members:
    found = rawjson.members(text)
    for member in found.values():
        assert text[member.start :].startswith(member.value)
    return {name: (bytes(member.text), bytes(member.value)) for name, member in found.items()}


@given(bodies())
@example('{"a":{"x":1,"b":2},"a":[1,23],"b":[]}')
@example('{"\\ud800":1,"\\u0800":2,"a":["\\udfff"]}')
@example(f'{{"a":{"[" * 900}{"]" * 900}}}')
@example("{" + ",".join(f'"{n}":0' for n in range(10_000)) + "}")
@example('{"%s":1}' % ("\\u0041" * 100_000))
@example('{"x":"a%s"}' % ("😀" * 60_000))  # one of them is on the border of two pieces
def test_members_and_items_are_those_that_python_reads_and_their_bytes_those_that_were_sent(body):
    text = body.encode()
    found = members(text)
    assert found == oracle.members(text)
    for _, value in found.values():
        if value.startswith(b"["):
            inner = oracle.items(value)
            assert [value[place] for place in rawjson.items(value)] == inner
            assert rawjson.count("x", value) == len(inner)
        else:
            with pytest.raises(InvalidBackup, match="x must be an array"):
                rawjson.count("x", value)


@given(broken() | st.text('[]{}",:\\u0189dabtrue-.eE+ \n', max_size=40).map(str.encode))
@example(b'{"a":[1 2]}')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":"\xc0\xaf"}')
@example(b"{'a':1}")
@example(b'{"a":01}')
@example(b'{"a":"\\ud800"}')
@example(b'{"a":"\\ud800\x01"}')
def test_what_python_refuses_is_refused_and_nothing_else(text):
    try:
        expected = oracle.members(text)
    except ValueError:
        with pytest.raises(InvalidBackup):
            rawjson.members(text)
    else:
        assert members(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b"[]", "must be a JSON object"),
        (b'{"a":', "it ends too early (byte 5)"),
        (b'{"a":1,}', "(byte 7)"),
        (b'\xef\xbb\xbf{"a":1}', "(byte 0)"),
        (b'{"a":NaN}', "(byte 5)"),
        *(
            (b'{"x":"' + b"a" * (at - 6) + bad + b'"}', f"not valid UTF-8 (byte {at})")
            for at in (6, 65_535, 65_536)
            for bad in (b"\xff", b"\xf0\x9f\x98")
        ),
        (b'{"a":' + b"[" * 5_000_000, "nested too deep"),
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
def test_items_are_counted_or_refused_before_they_take_memory(items, times, count):
    array = b"[%s]" % b",".join([items] * times)
    if count:
        assert rawjson.count("x", array, MILLION) == count
    else:
        with pytest.raises(InvalidBackup, match="The member x has more than 1000000 items"):
            rawjson.count("x", array, MILLION)
        assert rawjson.count("x", array) >= 1200
