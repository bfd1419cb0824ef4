"""What the server makes of JSON, told by Python's own reader: the reference for tests and fuzzing.

Data is given by name: of each member its text, and that of its value. Numbers are their digits. A
text that is no JSON by RFC 8259 is a ValueError, and what the server refuses is None.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from backup_server import document
from backup_server.patch import KEYS, MOST_RECORDS
from backup_server.rawjson import MOST_MEMBERS
from backup_server.upload import CATEGORIES, CLIENT_TIMESTAMP_BYTES

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
    """Return the texts of each member and of its value; raise ValueError for what is no object."""
    if not isinstance(read(text), dict):
        raise ValueError("no object")
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
    at = _BLANK.match(text).end()
    while True:
        at = _BLANK.match(text, at + 1).end()
        if text[at] in "]}":
            return
        _, stop = _decoder.raw_decode(text, at)
        yield slice(at, stop)
        at = _BLANK.match(text, stop).end()
        if text[at] in "]}":
            return


def upload(text: bytes) -> tuple[Members, dict] | None:
    """Return the data and the origin that an upload comes to."""
    try:
        found = members(text)
    except ValueError:
        return None
    data = {name: _category(name, found.pop(name, (b"", b"[]"))[1]) for name in CATEGORIES}
    is_valid = all(value[:1] == b"[" for _, value in data.values())
    origin = _pop_origin(found)
    return (data | found, origin) if is_valid and origin is not None else None


def apply(change: bytes, data: Members, origin: dict) -> tuple[Members, dict] | None:
    """Return what a change makes of a backup's data and origin."""
    try:
        asked = members(change)
    except ValueError:
        return None
    counts, new_origin = read(asked.pop("counts", (b"", b"{}"))[1]), _pop_origin(asked)
    for name in asked.keys() & set(CATEGORIES):
        array = _apply_to(name, asked[name][1], data[name][1])
        if array is None:
            return None
        asked[name] = _category(name, array)
    result = data | asked
    if new_origin is None or not isinstance(counts, dict) or not counts.keys() <= set(CATEGORIES):
        return None
    for name, count in counts.items():
        if not isinstance(count, Number) or float(count) != len(items(result[name][1])):
            return None
    old = {name: origin[name] for name in ("deviceId", "device") if name in origin}
    return result, old | new_origin


@contextmanager
def as_file(text: bytes) -> Iterator[BinaryIO]:
    """Yield an open file with this text."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(text)
        yield file


def assert_stored(stored: bytes, data: Members, origin: dict) -> None:
    """Check that a stored document is of this data and origin, to the byte and by its head."""
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


def is_near_a_limit(text: bytes) -> bool:
    """Tell whether a text may be refused for its size, which the functions above don't look at."""
    longest = max(map(len, text.split(b'"')))
    deep = text.count(b"[") + text.count(b"{") > 500
    return deep or text.count(b":") > MOST_MEMBERS or longest > CLIENT_TIMESTAMP_BYTES - 2


def _category(name: str, array: bytes) -> tuple[bytes, bytes]:
    return b'"%s":%s' % (name.encode(), array), array


def _pop_origin(found: Members) -> dict | None:
    names = ("clientTimestamp", "deviceId", "device")
    origin = {name: read(found.pop(name)[1]) for name in names if name in found}
    if origin.get("device", "none") in (None, ""):
        del origin["device"]
    for value in origin.values():
        if type(value) is not str or re.search("[\ud800-\udfff]", value):
            return None
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", origin.get("deviceId", "none"), re.ASCII):
        return None
    return origin | ({"device": origin["device"][:100]} if "device" in origin else {})


def _apply_to(name: str, change: bytes, array: bytes) -> bytes | None:
    lists = {p: value for p, (_, value) in members(change).items()} if change[:1] == b"{" else {}
    if not lists or not lists.keys() <= {"put", "delete"}:
        return None
    if any(value[:1] != b"[" or value.count(b",") >= MOST_RECORDS for value in lists.values()):
        return None
    new, old = _by_key(lists.get("put", b"[]"), KEYS[name]), _by_key(array, KEYS[name])
    gone = {key(read(value)) for value in items(lists.get("delete", b"[]"))}
    if new is None or old is None or None in gone or gone & new.keys() or gone - old.keys():
        return None
    return b"[%s]" % b",".join(text for k, text in (old | new).items() if k not in gone)


def _by_key(array: bytes, name: str) -> dict | None:
    found: dict = {}
    for text in items(array):
        record = read(text)
        known = key(record.get(name)) if isinstance(record, dict) else None
        if known is None or known in found:
            return None
        found[known] = text
    return found


def key(value: Any) -> tuple | None:
    """Return what two equal keys have in common: a number's value, a string's characters."""
    if not isinstance(value, Number):
        return ("string", value) if isinstance(value, str) else None
    return ("number", float(value)) if abs(float(value)) < 2**53 else ("digits", str(value))
