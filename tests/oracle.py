"""What the server makes of JSON, by Python's own reader: the reference for tests and fuzzing.

Data is given by name: of each member its text, and that of its value. Numbers are their digits.
What is no JSON by RFC 8259, or what the server refuses, is a ValueError.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from support import CATEGORIES, written

from backup_server import document
from backup_server.rawjson import MOST_MEMBERS
from backup_server.upload import CLIENT_TIMESTAMP_BYTES, Upload, check_upload

KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
ID, TIME = "2026-02-01T10-54-27", "2026-02-01T10:54:27.123Z"
Members = dict[str, tuple[bytes, bytes]]


class Number(str):
    """A number as its digits were written."""


def _refuse_constant(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
_BLANK = re.compile(r"[ \t\n\r]*")


def read(text: bytes) -> Any:
    """Return what a JSON text says."""
    return _decoder.decode(text.decode())


def members(text: bytes) -> Members:
    """Return the texts of each member of an object and of its value."""
    _require(isinstance(read(text), dict))
    places, whole = _places(text.decode()), text.decode()
    return {
        json.loads(whole[name]): (whole[name.start : value.stop].encode(), whole[value].encode())
        for name, value in zip(places, places, strict=True)
    }


def items(array: bytes) -> list[bytes]:
    """Return the texts of a valid array's items."""
    return [array.decode()[place].encode() for place in _places(array.decode())]


def _places(text: str) -> Iterator[slice]:
    """Yield the places of all names and values that are directly in a valid array or object."""
    stop = _BLANK.match(text).end()
    while True:
        start = _BLANK.match(text, stop + 1).end()
        if text[start] in "]}":  # it is empty
            return
        _, stop = _decoder.raw_decode(text, start)
        yield slice(start, stop)
        stop = _BLANK.match(text, stop).end()
        if text[stop] in "]}":
            return


def upload(text: bytes) -> tuple[Members, dict]:
    """Return the data and the origin that an upload comes to."""
    found = members(text)
    origin, data = _pop_origin(found), with_categories(found)
    _require(all(data[name][1][:1] == b"[" for name in CATEGORIES))
    return data, origin


def with_categories(found: Members) -> Members:
    """Return members with all categories first."""
    categories = {name: found.get(name, (b"", b"[]"))[1] for name in CATEGORIES}
    return {name: _category(name, array) for name, array in categories.items()} | {
        name: member for name, member in found.items() if name not in CATEGORIES
    }


def apply(change: bytes, data: Members, origin: dict) -> tuple[Members, dict]:
    """Return what a change makes of a backup's data and origin."""
    asked = members(change)
    counts, new_origin = read(asked.pop("counts", (b"", b"{}"))[1]), _pop_origin(asked)
    for name in asked.keys() & KEYS:
        asked[name] = _category(name, _apply_to(KEYS[name], asked[name][1], data[name][1]))
    result = data | asked
    _require(isinstance(counts, dict) and counts.keys() <= KEYS.keys())
    for name, count in counts.items():
        _require(isinstance(count, Number) and float(count) == len(items(result[name][1])))
    return result, {n: origin[n] for n in ("deviceId", "device") if n in origin} | new_origin


def stored(upload: Upload | bytes, key: str | None = None) -> bytes:
    """Return the file that an upload becomes."""
    upload = upload if isinstance(upload, Upload) else check_upload(upload)
    return written(document.render(upload, ID, TIME, key))


@contextmanager
def as_file(text: bytes) -> Iterator[BinaryIO]:
    """Yield an open file with this text."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(text)
        yield file


def assert_stored(stored: bytes, data: Members, origin: dict) -> document.Head:
    """Check that a stored document is of this data and origin, to the byte; return its head."""
    assert stored.endswith(b'\n"data":{%s}}\n' % b",".join(text for text, _ in data.values()))
    with as_file(stored) as file:
        head = document.read(file)
        document.check(file, head)
    whole, listed = read(stored), head.entry()
    assert whole["clientTimestamp"] == origin.get("clientTimestamp", whole["timestamp"])
    for name in ("deviceId", "device"):
        assert whole.get(name) == listed.get(name) == origin.get(name)
    assert head.counts == {name: len(items(data[name][1])) for name in CATEGORIES}
    for name in CATEGORIES:
        offset, length = head.part(name)
        assert stored[offset : offset + length] == data[name][1]
    return head


def is_near_a_limit(text: bytes) -> bool:
    """Tell whether a text may be refused for its size, which the functions above don't look at."""
    longest = max(map(len, text.split(b'"')))
    deep = text.count(b"[") + text.count(b"{") > 500
    return deep or text.count(b":") > MOST_MEMBERS or longest > CLIENT_TIMESTAMP_BYTES - 2


def _category(name: str, array: bytes) -> tuple[bytes, bytes]:
    return b'"%s":%s' % (name.encode(), array), array


def _pop_origin(found: Members) -> dict:
    names = ("clientTimestamp", "deviceId", "device")
    origin = {name: read(found.pop(name)[1]) for name in names if name in found}
    if origin.get("device", "none") in (None, ""):
        del origin["device"]
    for value in origin.values():
        _require(type(value) is str and not re.search("[\ud800-\udfff]", value))
    _require(re.fullmatch("[A-Za-z0-9_-]{1,64}", origin.get("deviceId", "none"), re.ASCII))
    return origin | ({"device": origin["device"][:100]} if "device" in origin else {})


def _apply_to(field: str, change: bytes, array: bytes) -> bytes:
    lists = {part: value for part, (_, value) in members(change).items()}
    _require(lists and lists.keys() <= {"put", "delete"})
    _require(all(value[:1] == b"[" for value in lists.values()))
    new, old = _by_key(lists.get("put", b"[]"), field), _by_key(array, field)
    gone = {_key(read(value)) for value in items(lists.get("delete", b"[]"))}
    _require(not gone & new.keys() and not gone - old.keys())
    return b"[%s]" % b",".join(text for key, text in (old | new).items() if key not in gone)


def _by_key(array: bytes, field: str) -> dict:
    records = [(text, read(text)) for text in items(array)]
    _require(all(isinstance(record, dict) for _, record in records))
    found = {_key(record.get(field)): text for text, record in records}
    _require(len(found) == len(records))
    return found


def _key(value: Any) -> tuple:
    """Return what two equal keys have in common: a number's value, a string's characters."""
    _require(isinstance(value, str))
    if not isinstance(value, Number):
        return ("string", value)
    return ("number", float(value)) if abs(float(value)) < 2**53 else ("digits", str(value))


def _require(is_so: Any) -> None:
    if not is_so:
        raise ValueError("refused")
