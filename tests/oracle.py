"""What the server makes of JSON, told by Python's own reader: the reference for tests and fuzzing.

Numbers are kept as their digits. A text that is no JSON by RFC 8259 is a ValueError.
"""

import json
import re
from typing import Any

from backup_server.patch import MOST_RECORDS
from backup_server.rawjson import MOST_MEMBERS
from backup_server.record_keys import KEYS
from backup_server.upload import CATEGORIES, CLIENT_TIMESTAMP_BYTES


class Number(str):
    """A number as its digits were written."""


def _refuse_constant(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
_BLANK = re.compile(r"[ \t\n\r]*")


def read(text: bytes) -> Any:
    """Return what a JSON text says."""
    return _decoder.decode(text.decode())


def members(text: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Return the text of each member's name and value; raise ValueError for what is no object."""
    characters = text.decode()
    if not isinstance(_decoder.decode(characters), dict):
        raise ValueError("no object")
    found, at = {}, _skip(characters, _skip(characters, 0) + 1)
    while characters[at] != "}":
        name, after = _decoder.raw_decode(characters, at)
        start = _skip(characters, _skip(characters, after) + 1)
        _, stop = _decoder.raw_decode(characters, start)
        found[name] = characters[at:after].encode(), characters[start:stop].encode()
        at = _skip(characters, stop)
        at = _skip(characters, at + (characters[at] == ","))
    return found


def items(array: bytes) -> list[bytes]:
    """Return the texts of a valid array's items."""
    characters, found = array.decode(), []
    at = _skip(characters, 1)
    while characters[at] != "]":
        _, stop = _decoder.raw_decode(characters, at)
        found.append(characters[at:stop].encode())
        at = _skip(characters, stop)
        at = _skip(characters, at + (characters[at] == ","))
    return found


def _skip(characters: str, at: int) -> int:
    return _BLANK.match(characters, at).end()


def upload(text: bytes) -> tuple[dict, dict] | None:
    """Return the data and the origin that an upload comes to; None if it is refused."""
    try:
        content = read(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or (origin := _origin(content)) is None:
        return None
    data = {name: [] for name in CATEGORIES} | content
    return (data, origin) if all(isinstance(data[name], list) for name in CATEGORIES) else None


def apply(change: bytes, data: dict, origin: dict) -> tuple[dict, dict] | None:
    """Return what a change makes of a backup's data and origin; None if it is refused."""
    try:
        asked = read(change)
    except ValueError:
        return None
    if not isinstance(asked, dict) or (new_origin := _origin(asked)) is None:
        return None
    counts, result = asked.pop("counts", {}), dict(data)
    for name, value in asked.items():
        result[name] = _apply_to(name, value, data[name]) if name in KEYS else value
        if result[name] is None and name in KEYS:
            return None
    if not isinstance(counts, dict) or not counts.keys() <= set(CATEGORIES):
        return None
    for name, count in counts.items():
        if not isinstance(count, Number) or float(count) != len(result[name]):
            return None
    old = {name: origin[name] for name in ("deviceId", "device") if name in origin}
    return result, old | new_origin


def _origin(content: dict) -> dict | None:
    """Take the origin out of a body; None if it is refused."""
    names = ("clientTimestamp", "deviceId", "device")
    origin = {name: content.pop(name) for name in names if name in content}
    if origin.get("device", "none") in (None, ""):
        del origin["device"]
    for value in origin.values():
        if not _is_string(value) or any(0xD800 <= ord(c) < 0xE000 for c in value):
            return None
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", origin.get("deviceId", "none"), re.ASCII):
        return None
    return origin | ({"device": origin["device"][:100]} if "device" in origin else {})


def is_near_a_limit(text: bytes) -> bool:
    """Tell whether a text may be refused for its size, which the functions above don't look at."""
    longest = max(map(len, text.split(b'"')))
    deep = text.count(b"[") + text.count(b"{") > 500
    return deep or text.count(b":") > MOST_MEMBERS or longest > CLIENT_TIMESTAMP_BYTES - 2


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _apply_to(name: str, change: Any, records: list) -> list | None:
    if not isinstance(change, dict) or not change or not change.keys() <= {"put", "delete"}:
        return None
    put, delete = change.get("put", []), change.get("delete", [])
    if not isinstance(put, list) or not isinstance(delete, list) or len(put) > MOST_RECORDS:
        return None
    new, old = _by_key(put, KEYS[name]), _by_key(records, KEYS[name])
    gone = {key(value) for value in delete}
    if new is None or old is None or None in gone or gone & new.keys() or gone - old.keys():
        return None
    kept = {known: new.get(known, record) for known, record in old.items() if known not in gone}
    return [*(kept | new).values()]


def _by_key(records: list, name: str) -> dict | None:
    found: dict = {}
    for record in records:
        known = key(record.get(name)) if isinstance(record, dict) else None
        if known is None or known in found:
            return None
        found[known] = record
    return found


def key(value: Any) -> tuple | None:
    """Return what two equal keys have in common: a number's value, a string's characters."""
    if not isinstance(value, Number):
        return ("string", value) if isinstance(value, str) else None
    number = json.loads(value) if len(value) <= 1000 else float("inf")
    return ("number", number) if abs(number) <= 2**53 else ("digits", str(value))
