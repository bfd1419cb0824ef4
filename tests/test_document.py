"""A backup from upload to stored bytes and back: upload.py and document.py."""

import hashlib
import json
import re

import msgspec
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import ID, TIME, stored
from strategies import bodies
from support import CATEGORIES, ROOT

from backup_server import document
from backup_server.document import HEAD_BYTES, Head, render
from backup_server.errors import DamagedBackup, InvalidBackup
from backup_server.upload import CLIENT_TIMESTAMP_BYTES, check_upload

EXPRESS = ROOT / "tests" / "samples" / "express-data"


def read(text: bytes, check: bool = False) -> Head:
    with oracle.as_file(text) as file:
        head = document.read(file)
        if check:
            document.check(file, head)
        return head


def pretty(text: bytes, **members) -> bytes:
    """Write a document as an editor would leave it."""
    return json.dumps(json.loads(text, parse_float=str) | members, indent=2).encode()


@given(bodies(), st.none() | st.just("k" * 128))
@example('{"atoms":[1],"device":null,"x":2}', None)
@example('{"device":"%s"}' % ("😀" * 60_000), None)  # one is on the border of two pieces
@example('{"deviceId":1,"deviceId":"last","device":"%s"}' % (r"\ud83d\ude00" * 101), None)
@example('{"a":{"x":1,"atoms":[9]},"a":[1,23],"b":[],"a\\u0074oms":[3]}', None)
@example('{"\\ud800":1,"\\u0800":2,"atoms":["\\udfff"]}', None)
@example(f'{{"a":{"[" * 900}{"]" * 900}}}', None)
@example("{" + ",".join(f'"{n}":0' for n in range(10_000)) + "}", None)
@example('{"%s":1}' % ("\\u0041" * 100_000), None)
def test_an_upload_is_stored_byte_for_byte_and_its_origin_in_the_head(body, key):
    text = stored(body.encode(), key)
    head = oracle.assert_stored(text, *oracle.upload(body.encode()))
    whole = json.loads(text)
    assert (head.id, head.key, head.size) == (ID, key, len(text))
    assert (whole["id"], whole["timestamp"], whole["version"]) == (ID, TIME, 1)


@given(st.text('[]{}",:\\u0189dabtrue-.eE+ \n', max_size=40).map(str.encode))
@example(b'{"a":[1 2]}')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":"\xc0\xaf"}')
@example(b"{'a':1}")
@example(b'{"a":01}')
@example(b'{"a":"\\ud800"}')
@example(b'{"a":"\\ud800\x01"}')
def test_what_python_refuses_is_refused_and_nothing_else(text):
    try:
        oracle.upload(text)
    except ValueError:
        with pytest.raises(InvalidBackup):
            check_upload(text)
    else:
        check_upload(text)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ('"atoms":{}', "atoms must be an array"),
        (f'"snapshots":[{"0," * 1_000_000}0]', "snapshots has more than 1000000 items"),
        ('"clientTimestamp":1', "clientTimestamp must be a string"),
        ('"clientTimestamp":"\\ud83d"', "clientTimestamp has half of a surrogate pair"),
        (f'"clientTimestamp":"{"x" * 1023}"', "clientTimestamp is over 1024 bytes"),
        ('"deviceId":null', "deviceId must be a string"),
        ('"deviceId":""', "deviceId must be 1 to 64 of"),
        (f'"deviceId":"{"x" * 65}"', "deviceId must be 1 to 64 of"),
        ('"deviceId":"é"', "deviceId must be 1 to 64 of"),
        ('"device":5', "device must be a string"),
        (f'"device":"{"x" * 200}\\ud83d"', "device has half of a surrogate pair"),
    ],
    ids=lambda value: value[:30],
)
def test_a_member_of_another_type_or_form_is_named(member, words):
    with pytest.raises(InvalidBackup, match=words):
        check_upload(f"{{{member}}}".encode())


def test_the_largest_head_fits_in_the_bytes_that_a_listing_reads():
    control, time = r"\u0000", "x" * (CLIENT_TIMESTAMP_BYTES - 2)
    origin = f'"clientTimestamp":"{time}","deviceId":"{"x" * 64}","device":"{control * 101}"'
    upload = check_upload(f"{{{origin}}}".encode())._replace(base=ID + "-0001")
    # 1,000 digits of counts and offsets are more than any file has; 50 MB take 8 each.
    assert len(render(upload, ID, TIME, "k" * 128)[1]) < HEAD_BYTES - 1000


@given(bodies(), st.data())
@settings(max_examples=50)
def test_a_byte_that_changed_and_an_end_that_is_lost_show_wherever_it_is(body, data):
    text = bytearray(stored(body.encode()))
    at = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(DamagedBackup):
        read(text[:at])
    text[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedBackup):
        read(text, check=True)


OF_A_RECORD = b'{"sha256":"%s"}' % (b"0" * 64)
PLACE = b'"sha256":"%s", ' % (b"D" * 64)


def in_another_form(sha256: bytes, data: bytes = b"{}", blank: bytes = b" ") -> bytes:
    """Write a document by hand, with the SHA-256 it should have if ``sha256`` is its place."""
    text = b'{"id":"i",%s"timestamp":"t",%s"data":%s}' % (blank, sha256, data)
    digits = hashlib.sha256(text.replace(b"D" * 64, b"")).hexdigest().encode()
    return text.replace(b"D" * 64, digits)


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        (in_another_form(b'"x":%s,' % OF_A_RECORD), True),
        (in_another_form(b"")[:-1] + b',"sha256":"after data"}', True),
        (in_another_form(PLACE, b'{"atoms":[%s]}' % OF_A_RECORD), True),
        (in_another_form(PLACE.replace(b":", b"\t:\n "), blank=b" " * 300_000), True),
        (pretty(stored(b'{"atoms":[1]}')), False),
        (pretty(stored(b'{"atoms":[1]}'), sha256=None), False),
        (stored(b"{}").replace(b'"sha256"', b'"sha-256"'), False),
    ],
)
def test_the_sha_256_that_counts_is_the_outermost_object_s_before_its_data(text, is_good):
    read(text)
    if is_good:
        read(text, check=True)
    else:
        with pytest.raises(DamagedBackup, match="do not match"):
            read(text, check=True)


OWN = stored(b'{"atoms":[1],"deviceId":"d"}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OWN + b" ", "bytes where"),
        (OWN.replace(b'"voiceNotes":0,', b"", 1), "voiceNotes"),
        (re.sub(rb'"atoms":\[\d+,', b'"atoms":[90,', OWN), "atoms a place outside data"),
        (re.sub(rb'"atoms":\[\d+,', b'"atoms":[-9,', OWN), ">= 0"),
        (OWN.replace(b'"deviceId":"d"', b'"deviceId":"\xff"'), "not valid UTF-8"),
        (OWN.replace(b'"version":1', b'"version":' + b"[" * 3000), "cannot be read"),
        (b'{"id":"i","timestamp":"t","data":[]}', "cannot be read"),
        (b'{"id":"i","data":{}}', "id, timestamp or data is missing"),
        (b"{" + b" " * 5_000_000, "no Express server wrote that"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_no_server_wrote_is_damaged(text, words, monkeypatch):
    monkeypatch.setattr(document, "LARGEST_EXPRESS", 5_000_000)
    with pytest.raises(DamagedBackup, match=words):
        read(text)


@pytest.mark.parametrize("form", [lambda text: text, lambda text: pretty(text)])
def test_what_was_stored_before_there_were_rules_stays_readable(form):
    text = stored(b'{"clientTimestamp":"PUT","device":"d","xdevice":[5]}')
    head = read(form(text.replace(b"PUT", b"\\ud83d").replace(b'"xdevice"', b'"device" ')))
    assert json.loads(bytes(head.client_timestamp)) == "\u083d"  # half an emoji, but readable
    assert head.device == "d"


@pytest.mark.parametrize(
    "text",
    [
        *(path.read_bytes() for path in sorted(EXPRESS.iterdir())),
        pretty(stored(b'{"atoms":[{"n":15}],"deviceId":"d","device":"Laptop"}')),
        pretty(OWN, data={"atoms": [0] * 1_000_001}),
    ],
    ids=lambda _: "",
)
def test_a_file_in_another_form_has_a_head_made_up_for_it(text):
    head, whole = read(text), json.loads(text)
    for name in CATEGORIES:
        offset, length = head.part(name)
        array = json.loads(text[offset : offset + length] or b"[]")
        assert array == whole["data"].get(name, [])
        assert head.counts[name] == len(array)
    entry = json.loads(msgspec.json.encode(head.entry()))
    for name in ("id", "timestamp", "deviceId", "device"):
        assert entry.get(name) == whole.get(name)
