"""A document from upload to stored bytes and back, for every JSON there is."""

import hashlib
import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import CATEGORIES, written

from backup_server import document, rawjson
from backup_server.document import (
    CLIENT_TIMESTAMP_BYTES,
    check_digest,
    check_upload,
    has_head,
    read_head,
    render,
)
from backup_server.errors import DamagedBackup, InvalidBackup

# How long an example takes says nothing on a machine that does other things as well.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ID = "2026-02-01T10-54-27"
TIME = "2026-02-01T10:54:27.123Z"

# Half a surrogate pair is a character here, as it is in JavaScript.
text = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([*CATEGORIES, "clientTimestamp", "id", "data", "layout", ""]) | text


@st.composite
def uploads(draw) -> tuple[bytes, dict]:
    """Draw an upload as its bytes, written in one of the ways JSON may be, and as an object."""
    content = draw(st.dictionaries(names, values, max_size=6))
    for name in CATEGORIES:
        if name in content:
            content[name] = draw(st.lists(values, max_size=4))
    if "clientTimestamp" in content:
        content["clientTimestamp"] = draw(text.filter(is_whole))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")]))
    escaped = draw(st.booleans()) or any(0xD800 <= ord(c) < 0xE000 for c in str_of(content))
    body = json.dumps(content, ensure_ascii=escaped, separators=separators)
    blank = draw(st.sampled_from(["", " ", "\n\t\r "]))
    return (blank + body + blank).encode(), content


def is_whole(characters: str) -> bool:
    return not any(0xD800 <= ord(c) < 0xE000 for c in characters)


def str_of(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False)


def stored(body: bytes, key: str | None = None) -> bytes:
    content = render(check_upload(body), ID, TIME, key)
    whole = written(content)
    assert content.receipt.size == len(whole)
    return whole


@given(uploads())
def test_a_stored_document_is_json_that_holds_the_upload(upload):
    body, content = upload
    whole = json.loads(stored(body))
    data = {name: [] for name in CATEGORIES} | content
    client_timestamp = data.pop("clientTimestamp", TIME)
    assert whole["data"] == data
    assert whole["clientTimestamp"] == client_timestamp
    assert (whole["id"], whole["timestamp"], whole["version"]) == (ID, TIME, 1)
    assert whole["counts"] == {name: len(data[name]) for name in CATEGORIES}


@given(uploads(), st.none() | st.just("k" * 128))
def test_the_head_is_read_from_the_first_bytes_and_leads_to_every_category(upload, key):
    whole = stored(upload[0], key)
    head = read_head(whole[: document.HEAD_BYTES], len(whole))
    assert head == read_head(whole, len(whole))
    assert (head.id, head.key, head.size) == (ID, key, len(whole))
    for name in CATEGORIES:
        offset, length = head.part(name)
        assert json.loads(whole[offset : offset + length]) == upload[1].get(name, [])
    assert json.loads(bytes(head.client_timestamp)) == upload[1].get("clientTimestamp", TIME)


@given(uploads())
def test_an_express_document_is_read_by_the_same_means(upload):
    data = {name: [] for name in CATEGORIES} | upload[1]
    members = {"id": ID, "timestamp": TIME, "clientTimestamp": TIME, "version": 1, "data": data}
    whole = json.dumps(members, indent=2).encode()
    assert not has_head(whole)
    head = read_head(whole, len(whole))
    assert head.counts == {name: len(data[name]) for name in CATEGORIES}
    for name in CATEGORIES:
        offset, length = head.part(name)
        assert json.loads(whole[offset : offset + length]) == data[name]


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0189dabtrue-.eE+ \n', max_size=40))
@example(b'{"a":1,"a":2}')
@example('{"":{},"":[]}')
def test_whatever_is_sent_is_taken_or_refused_as_python_would(body):
    body = body.encode() if isinstance(body, str) else body
    try:
        content = json.loads(body.decode(), parse_constant=refuse)
        valid = isinstance(content, dict)
    except ValueError:
        valid = False
    try:
        whole = stored(body)
    except InvalidBackup:
        categories = valid and all(isinstance(content.get(n, []), list) for n in CATEGORIES)
        assert not (categories and isinstance(content.get("clientTimestamp", ""), str))
    else:
        assert valid
        assert json.loads(whole)["data"].items() >= content.items()


def refuse(constant: str):
    raise ValueError(constant)


@given(uploads(), st.data())
@settings(max_examples=50)
def test_a_changed_byte_anywhere_shows_in_the_sha_256(upload, data):
    whole = bytearray(stored(upload[0]))
    check_digest([bytes(whole)])
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedBackup):
        check_digest([bytes(whole)])


def test_the_sha_256_is_that_of_the_file_without_its_own_digits():
    whole = stored(b'{"atoms":[1,2]}')
    digits = re.search(rb'"sha256":"([0-9a-f]{64})"', whole)[1]
    assert hashlib.sha256(whole.replace(digits, b"", 1)).hexdigest().encode() == digits


@given(uploads(), st.data())
@settings(max_examples=50)
def test_a_document_cut_anywhere_is_damaged(upload, data):
    whole = stored(upload[0])
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(DamagedBackup):
        read_head(cut, len(cut))


def test_the_largest_head_fits_in_the_bytes_that_a_listing_reads():
    time = '"' + "x" * (CLIENT_TIMESTAMP_BYTES - 2) + '"'
    members = [f'"{name}":[{"1," * 1000}1]' for name in CATEGORIES]
    whole = stored(f'{{"clientTimestamp":{time},{",".join(members)}}}'.encode(), "k" * 128)
    # 1,000 digits of counts and offsets are more than any file has; 50 MB take 8 each.
    assert whole.index(b'\n"data":') < document.HEAD_BYTES - 1000
    assert read_head(whole[: document.HEAD_BYTES], len(whole)).counts["atoms"] == 1001


def test_items_are_counted_alike_by_all_ways_of_counting(monkeypatch):
    objects = b'[ {"a":"],["} , {"b":{"c":[]},"d":[{}]},{ } ]'
    others = rb'[ [1,[2]] , {"a":"],[","b":{"c":[]}} , "\"," , 1 ,null ]'
    body = b' { "atoms" : %s , "compositions":%s, "snapshots":[ ] }' % (others, objects)
    few = check_upload(body).counts
    assert (few["atoms"], few["compositions"], few["snapshots"]) == (5, 3, 0)
    monkeypatch.setattr(rawjson, "_FEW_ITEMS_BYTES", 0)
    assert check_upload(body).counts == few
    assert check_upload(body).counts == few


@given(uploads())
@settings(max_examples=50)
def test_both_ways_of_counting_agree(upload):
    few = check_upload(upload[0]).counts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rawjson, "_FEW_ITEMS_BYTES", 0)
        assert check_upload(upload[0]).counts == few


def test_a_text_cut_within_a_character_at_the_border_of_a_piece_is_read_whole():
    for shift in range(4):
        body = b'{"x":"%s%s"}' % (b"a" * shift, "😀".encode() * 60_000)
        assert json.loads(stored(body))["data"]["x"] == "a" * shift + "😀" * 60_000


@pytest.mark.parametrize("at", [65_535, 65_536, 65_537, 200_000])
def test_the_place_of_bad_utf8_is_told_wherever_it_lies(at):
    body = b'{"x":"' + b"a" * (at - 6)
    for bad in (b"\xff", b"\xe2\x82", b"\xf0\x9f\x98"):
        with pytest.raises(InvalidBackup, match=rf"byte {at}\b"):
            check_upload(body + bad + b'"}')


@pytest.mark.parametrize("depth", [500, 900])
def test_nesting_that_json_libraries_of_browsers_and_python_read_is_taken(depth):
    stored(b'{"atoms":[%s]}' % (b"[" * depth + b"]" * depth))


@pytest.mark.parametrize(
    "body",
    [
        b'{"atoms":[1,2,3],"atoms":[[1],2]}',
        b'{"atoms":12,"atoms":[1]}',
        b'{"atoms":{"x":1,"snapshots":2},"atoms":[1,23],"snapshots":[]}',
        b'{"atoms":[1,2],"x":{"atoms":[9]},"a\\u0074oms":[3]}',
        b'{"\\ud800":1,"\\u0800":2,"atoms":["\\udfff"]}',
        b'{"snapshots":[], "x":[1,2,3], "snapshots":[{"a":[1,2,33]}]}',
        b'{"atoms":[1],"snapshots":[1,2,3],"x":1,"atoms":[999999999999999999999]}',
    ],
)
def test_a_name_that_comes_twice_is_told_from_its_first_value(body):
    whole, content = stored(body), json.loads(body)
    data = json.loads(whole)["data"]
    assert {name: data[name] for name in content} == content


@st.composite
def texts_with_doubles(draw) -> bytes:
    """Draw an object whose names come often twice, spaced and escaped in any way JSON allows."""
    name = st.sampled_from(["atoms", "snapshots", "x", "\ud83d", "\u083d", "é"])
    value = st.lists(values, max_size=3)
    blank = st.sampled_from(["", " ", "\n\t"])
    pieces = []
    for key, content in draw(st.lists(st.tuples(name, value), max_size=6)):
        escaped = "".join(f"\\u{ord(c):04x}" for c in key)
        written = draw(st.sampled_from([json.dumps(key), f'"{escaped}"']))
        pieces.append(draw(blank) + written + draw(blank) + ":" + json.dumps(content) + draw(blank))
    return ("{" + ",".join(pieces) + "}").encode()


@given(texts_with_doubles(), st.data())
@settings(max_examples=300)
def test_members_are_those_that_python_reads_and_their_bytes_those_that_were_sent(body, data):
    if body and data.draw(st.booleans()):  # mutated: mostly invalid, and never misread
        at = data.draw(st.integers(0, len(body) - 1))
        body = (
            body[:at] + data.draw(st.sampled_from([b"", b'"', b",", b"]", b"0"])) + body[at + 1 :]
        )
    try:
        expected = json.loads(body.decode(), parse_constant=refuse)
        assert isinstance(expected, dict)
    except (ValueError, AssertionError):
        with pytest.raises(InvalidBackup):
            check_upload(body)
        return
    check_upload(body)  # every category here is an array
    found = rawjson.members(body)
    assert found.keys() == expected.keys()
    for name, member in found.items():
        assert json.loads(body[member.value]) == expected[name]
        assert json.loads(body[member.name]) == name


@pytest.mark.parametrize("name", ["n" * 1023, "é" * 512, "\\u0041" * 171])
def test_a_name_is_limited_like_the_rest_of_the_head(name):
    stored(f'{{"{name[:-6]}":1}}'.encode())
    with pytest.raises(InvalidBackup, match="longer than 1024 bytes"):
        check_upload(f'{{"{name}":1}}'.encode())


def test_no_objects_are_made_of_too_many_members():
    body = b"{" + b",".join(b'"k%d":0' % n for n in range(rawjson.MOST_MEMBERS)) + b"}"
    stored(body)
    with pytest.raises(InvalidBackup, match="10000 members"):
        check_upload(body[:-1] + b',"one more":0}')


@pytest.mark.parametrize("item", [b"0", b"[]", b"{}", b'""', b'[1,"]"]', b'{"a":[{},","]}', b" 1 "])
def test_a_million_items_are_counted_as_a_few_are(item, monkeypatch):
    array = b'{"atoms":[' + b",".join([item] * 7) + b"]}"
    assert check_upload(array).counts["atoms"] == 7
    monkeypatch.setattr(rawjson, "_FEW_ITEMS_BYTES", 0)
    assert check_upload(array).counts["atoms"] == 7
    assert check_upload(array).counts["atoms"] == 7
    assert check_upload(b'{"atoms":[ ],"x":[0,0,0,0]}').counts["atoms"] == 0


def test_records_full_of_numbers_are_counted_without_stepping_through_them(monkeypatch):
    record = b'{"id":1,"points":[%s0]}' % (b"0.5," * 1000)
    body = b'{"snapshots":[%s]}' % b",".join([record] * 1200)
    assert body.count(b",") > 1_000_000
    assert check_upload(body).counts["snapshots"] == 1200
