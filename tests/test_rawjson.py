"""JSON text into byte slices: as Python's own reader reads it, to the byte."""

import json

import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import bodies, broken

from backup_server import rawjson
from backup_server.errors import InvalidBackup

# How long an example takes says nothing on a machine that does other things as well.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def slices(text: bytes) -> dict[str, tuple[bytes, bytes]]:
    found = rawjson.members(text)
    return {name: (text[member.name], text[member.value]) for name, member in found.items()}


@given(bodies())
def test_members_and_items_are_those_that_python_reads_and_their_bytes_those_that_were_sent(body):
    text = body.encode()
    assert slices(text) == oracle.members(text)
    for _, value in slices(text).values():
        if value.startswith(b"["):
            inner = oracle.items(value)
            assert [value[place] for place in rawjson.items(value)] == inner
            assert rawjson.count("x", value) == len(inner)
        else:
            with pytest.raises(InvalidBackup, match="x must be an array"):
                rawjson.count("x", value)


@given(broken() | st.text('[]{}",:\\u0189dabtrue-.eE+ \n', max_size=40).map(str.encode))
@example(b'{"a":1,"a":2}')
@example(b'{"":{},"":[]}')
@example(b'\xef\xbb\xbf{"a":1}')
@example(b'{"a":[1],}')
@example(b'{"a":[1 2]}')
@example(b'{"a":Infinity}')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":"\xc0\xaf"}')
@example(b"{'a':1}")
@example(b'{"a":01}')
@example(b'{"a":"\\ud800"')
@example(b'{"a":"\\ud800\x01"}')
def test_what_python_refuses_is_refused_and_nothing_else(text):
    try:
        expected = oracle.members(text)
    except ValueError:
        with pytest.raises(InvalidBackup):
            rawjson.members(text)
    else:
        assert slices(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":[1,2,3],"a":[[1],2]}',
        b'{"a":{"x":1,"b":2},"a":[1,23],"b":[]}',
        b'{"atoms":[1,2],"x":{"atoms":[9]},"a\\u0074oms":[3]}',
        b'{"\\ud800":1,"\\u0800":2,"a":["\\udfff"]}',
        b'{"a":[1],"b":[1,2,3],"x":1,"a":[999999999999999999999]}',
    ],
)
def test_of_members_with_one_name_the_last_counts(text):
    read = {name: json.loads(value) for name, (_, value) in slices(text).items()}
    assert read == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a":', "it ends too early (byte 5)"),
        (b'{"a":1,}', "(byte 7)"),
        (b'\xef\xbb\xbf{"a":1}', "(byte 0)"),
        (b'{"a":NaN}', "(byte 5)"),
        (b'{"a":"\xff"}', "not valid UTF-8 (byte 6)"),
        (b'{"a":' + b"[" * 200_000, "nested too deep"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(10_001)) + b"}", "more than 10000 members"),
    ],
)
def test_what_is_wrong_is_told_and_where(text, words):
    with pytest.raises(InvalidBackup) as caught:
        rawjson.members(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b"{" + b",".join(b'"%d":0' % n for n in range(10_000)) + b"}",
        b'{"%s":1}' % (b"\\u0041" * 100_000),
    ],
)
def test_what_is_within_the_limits_is_read(text):
    assert slices(text) == oracle.members(text)


@pytest.mark.parametrize("at", [65_535, 65_536, 65_537, 200_000])
def test_the_place_of_bad_utf8_is_told_wherever_it_lies(at):
    body = b'{"x":"' + b"a" * (at - 6)
    for bad in (b"\xff", b"\xe2\x82", b"\xf0\x9f\x98"):
        with pytest.raises(InvalidBackup, match=rf"byte {at}\b"):
            rawjson.members(body + bad + b'"}')


def test_a_character_at_the_border_of_two_pieces_is_read_whole():
    for shift in range(4):
        body = b'{"x":"%s%s"}' % (b"a" * shift, "😀".encode() * 60_000)
        assert slices(body) == oracle.members(body)


# An array of these is too long to hold all that could be its items.
OF_NUMBERS = b"[%s0]" % (b"0.5," * 1000)


@pytest.mark.parametrize(
    ("items", "count"),
    [
        (b",".join([b"0"] * 1_000_000), 1_000_000),
        (b" , ".join([b"{}"] * 1_000_000), 1_000_000),
        (b",".join([b'{"id":1,"points":%s}' % OF_NUMBERS] * 1200), 1200),
        (b",".join([b'{"half":"\\ud83d"}'] * 200_000), 200_000),
        (b",".join([b'"%s"' % (b"x" * 100), b"{}", b"[]"] * 10_000), 30_000),
    ],
)
def test_up_to_a_million_items_are_counted(items, count):
    assert rawjson.count("x", b"[" + items + b"]", 1_000_000) == count


@pytest.mark.parametrize(
    ("items", "most"),
    [
        (b"0,0,0", 2),
        (b",".join([b"0"] * 1_000_001), 1_000_000),
        (b",".join([b"{}"] * 1_000_001), 1_000_000),
        (b",".join([b"[]"] * 1_000_001), 1_000_000),
        (b",".join([b"{}", b"[]"] * 500_001), 1_000_000),
        (b",".join([OF_NUMBERS] * 1200), 1_000_000),  # as many commas, in other items than objects
    ],
)
def test_more_items_are_refused_before_they_take_memory(items, most):
    with pytest.raises(InvalidBackup, match=f"The member x has more than {most} items"):
        rawjson.count("x", b"[" + items + b"]", most)


def test_without_a_limit_all_items_are_counted():
    assert rawjson.count("x", b"[" + b",".join([b"{}"] * 1_000_001) + b"]") == 1_000_001
    assert rawjson.count("x", b"[" + b",".join([b"0", OF_NUMBERS] * 1200) + b"]") == 2400


@pytest.mark.parametrize(
    ("text", "is_half"),
    [
        (rb'"\ud83d\ude00"', False),
        (rb'"\ud83d"', True),
        (rb'"\ude00\ud83d"', True),
        (rb'"\\ud83d"', False),
        (b'"\xf0\x9f\x98\x80"', False),
    ],
)
def test_half_a_surrogate_pair_is_told_from_a_whole_one(text, is_half):
    assert rawjson.has_half_pair(text) is is_half
