"""Whatever JSON a client sends comes back byte for byte, and what is no JSON is refused.

hypothesis writes the text itself, not values for a serialiser: every way to write a number, a
string or white space that RFC 8259 allows, half surrogate pairs included. ``EXAMPLES=5000`` in the
environment makes it a long run.
"""

import gzip
import json
import os
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st
from support import CATEGORIES, Server, assert_error

SETTINGS = settings(
    max_examples=int(os.environ.get("EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

blank = st.sampled_from(["", "", "", " ", "\n", "\r\n\t", "  "])
number = st.from_regex(
    r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
character = st.one_of(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters='"\\'),
    st.sampled_from([f"\\{letter}" for letter in '"\\/bfnrt']),
    st.from_regex(r"\\u[0-9a-fA-F]{4}", fullmatch=True),
    st.sampled_from(["\\ud83d", "\\uDE00", "\\ud83d\\ude00"]),
)
string = st.lists(character, max_size=12).map(lambda parts: f'"{"".join(parts)}"')
scalar = st.one_of(st.sampled_from(["null", "true", "false"]), number, string)


def array_of(values: st.SearchStrategy[str], **size: int) -> st.SearchStrategy[str]:
    item = st.tuples(blank, values, blank).map("".join)
    return st.one_of(
        st.lists(item, min_size=1, **size).map(lambda items: f"[{','.join(items)}]"),
        blank.map(lambda space: f"[{space}]"),
    )


def object_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(blank, string, blank, st.just(":"), blank, values, blank).map("".join)
    return st.lists(member, min_size=1, max_size=4).map(lambda members: f"{{{','.join(members)}}}")


value = st.recursive(
    scalar, lambda inner: array_of(inner, max_size=4) | object_of(inner), max_leaves=12
)
known = (*CATEGORIES, "clientTimestamp", "deviceId", "device")


def is_whole(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in json.loads(text))


other_name = string.filter(lambda name: json.loads(name) not in known)


class Body(NamedTuple):
    """A body to send, and the text of each member's value by the text of its name."""

    text: bytes
    members: dict[str, str]


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    names = [f'"{name}"' for name in draw(st.sets(st.sampled_from(CATEGORIES)))]
    members = {name: draw(array_of(value, max_size=4)) for name in names}
    for name in draw(st.lists(other_name, max_size=3, unique_by=json.loads)):
        members[name] = draw(value)
    if draw(st.booleans()):
        members['"clientTimestamp"'] = draw(string.filter(is_whole))
    order = draw(st.permutations(sorted(members)))
    gap = draw(blank)
    text = ",".join(f"{gap}{name}{gap}:{gap}{members[name]}{gap}" for name in order)
    return Body(f"{gap}{{{text or gap}}}{gap}".encode(), {name: members[name] for name in order})


def send(server: Server, body: bytes, way: str) -> dict:
    """Upload in one of the ways there are; return the receipt."""
    headers = {"Content_Type": "application/json"}
    if way == "gzip":
        body, headers["Content_Encoding"] = gzip.compress(body), "gzip"
    elif way == "beacon":
        body, headers["Content_Type"] = gzip.compress(body), "application/gzip"
    sent = (body[at : at + 7] for at in range(0, len(body), 7)) if way == "chunked" else body
    answer = server.request("POST", "/api/backup", sent, **headers)
    assert answer.status == 201, answer.body
    return answer.json


def with_digits(text: bytes | str) -> Any:
    """Read JSON with Python's own reader, keeping each number's digits."""
    return json.loads(text, parse_int="int {}".format, parse_float="float {}".format)


@SETTINGS
@given(body=bodies(), way=st.sampled_from(["plain", "chunked", "gzip", "beacon"]))
@example(body=Body(b"{}", {}), way="chunked")
def test_every_value_comes_back_byte_for_byte(server, body, way):
    receipt = send(server, body.text, way)
    stored = {name: body.members.get(f'"{name}"', "[]") for name in CATEGORIES}
    assert receipt["counts"] == {name: len(json.loads(text)) for name, text in stored.items()}
    # Each category by itself, as it was written.
    for name, text in stored.items():
        part = server.post("/api/restore", {"backupId": receipt["id"], "items": [name]}).body
        assert part.endswith(b'"data":{"%s":%s}}' % (name.encode(), text.encode()))
    # The document whole: each member once, as it was written, and nothing else.
    document = server.get(f"/api/backup/{receipt['id']}").body
    others = {name: text for name, text in body.members.items() if json.loads(name) not in known}
    written = {f'"{name}"': text for name, text in stored.items()} | others
    data = ",".join(f"{name}:{text}" for name, text in written.items())
    assert document.endswith(b'"data":{%s}}\n' % data.encode())
    # And in the eyes of another reader.
    read = with_digits(document)
    assert read["data"] == with_digits(f"{{{data}}}")
    assert read["id"] == receipt["id"]
    assert read["counts"] == {name: f"int {count}" for name, count in receipt["counts"].items()}
    client = body.members.get('"clientTimestamp"')
    assert read["clientTimestamp"] == (json.loads(client) if client else read["timestamp"])
    assert len(document) == receipt["size"]
    server.request("DELETE", f"/api/backup/{receipt['id']}")


def is_acceptable(text: bytes) -> bool:
    """Tell, by Python's own reader, whether this is a body that the contract asks for."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        read = json.loads(text.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return (
        isinstance(read, dict)
        and all(isinstance(read.get(name, []), list) for name in CATEGORIES)
        and isinstance(read.get("clientTimestamp", ""), str)
        and is_whole(json.dumps(read.get("clientTimestamp", "")))
    )


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Write a body in which a piece is missing, doubled or something else."""
    text = draw(bodies()).text
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(start + 3, len(text))))
    piece = draw(
        st.one_of(
            st.just(b""),
            st.just(text[start:stop] * 2),
            st.binary(min_size=1, max_size=3),
            st.sampled_from(
                [b",", b"NaN", b"0", b"'", b"\\", b"\x00", b"\xef\xbb\xbf", b"-", b"["]
            ),
        )
    )
    return text[:start] + piece + text[stop:]


@SETTINGS
@given(text=broken())
@example(text=b'\xef\xbb\xbf{"atoms":[]}')
@example(text=b'{"atoms":[],}')
@example(text=b'{"atoms":[1 2]}')
@example(text=b'{"atoms":[Infinity]}')
@example(text=b'{"atoms":["\xed\xa0\x80"]}')
@example(text=b'{"atoms":["\xc0\xaf"]}')
@example(text=b"{'atoms':[]}")
@example(text=b'{"atoms":[01]}')
@example(text=b'{"atoms":["\\ud800"}')
@example(text=b"")
def test_what_another_reader_refuses_is_refused_and_nothing_else(server, text):
    answer = server.post("/api/backup", text)
    if is_acceptable(text):
        assert answer.status == 201, answer.body
        server.request("DELETE", answer.headers["Location"])
    else:
        assert_error(answer, 400)


@SETTINGS
@given(body=bodies(), repeated=bodies())
def test_of_members_with_one_name_the_last_counts(server, body, repeated):
    inner = repeated.text.strip()[1:-1].strip()
    if not inner or not body.members:
        return
    text = body.text.rstrip()[:-1] + b"," + inner + b"}"
    receipt = send(server, text, "plain")
    document = with_digits(server.get(f"/api/backup/{receipt['id']}").body)
    expected = with_digits(text)
    expected.pop("clientTimestamp", None)
    assert document["data"] == {name: [] for name in CATEGORIES} | expected
    server.request("DELETE", f"/api/backup/{receipt['id']}")


@pytest.mark.parametrize(
    "pattern",
    [
        rb"\\ud83d(?!\\ud)",
        rb"\d{25}",
        rb"[eE]\+?\d",
        rb"\t\S",
        rb"\\u[0-9a-fA-F]{4}[^:]*\" *:",
    ],
    ids=["half a pair", "a long number", "an exponent", "a tab", "a name with an escape"],
)
def test_the_writer_above_makes_what_it_says(pattern):
    generate = settings(max_examples=2000, phases=[Phase.generate], database=None)
    find(bodies(), lambda body: re.search(pattern, body.text), settings=generate)
