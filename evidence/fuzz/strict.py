"""Python's own JSON reader made as strict as RFC 8259: the reference for what fuzzing finds."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from backup_server.document import CATEGORIES, CLIENT_TIMESTAMP_BYTES
from backup_server.patch import KEYS, MOST_RECORDS
from backup_server.rawjson import MOST_MEMBERS, NAME_BYTES


class Number(str):
    """A number as its digits were written."""


def read(text: bytes) -> Any:
    """Return what a JSON text says; ValueError for what is none, RecursionError if too deep."""
    return json.loads(
        text.decode(), parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
    )


def _read_object(text: bytes) -> dict | None:
    try:
        content = read(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _refuse_constant(constant: str) -> None:
    raise ValueError(constant)


def read_upload(text: bytes) -> dict | None:
    """Return what an upload says; None if it has to be refused."""
    content = _read_object(text)
    if content is None or not all(isinstance(content.get(name, []), list) for name in CATEGORIES):
        return None
    return content if _is_string(content.get("clientTimestamp", "")) else None


def is_near_a_limit(text: bytes) -> bool:
    """Tell whether a text may be refused for its size, which read_upload doesn't look at."""
    longest = max(map(len, text.split(b'"')))
    deep = text.count(b"[") + text.count(b"{") > 500
    return (
        deep
        or text.count(b":") > MOST_MEMBERS
        or longest > min(NAME_BYTES, CLIENT_TIMESTAMP_BYTES) - 2
    )


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def apply(change: bytes, base: dict) -> dict | None:
    """Return what an upload of a changed state says, members in no order; None if refused.

    ``base`` is what ``data`` of the stored backup says.
    """
    asked = _read_object(change)
    if asked is None:
        return None
    counts, result = asked.pop("counts", {}), dict(base)
    for name, value in asked.items():
        if name in KEYS:
            result[name] = _apply_to(name, value, base.get(name, []))
            if result[name] is None:
                return None
        else:
            result[name] = value
    if not _is_string(result.get("clientTimestamp", "")) or not isinstance(counts, dict):
        return None
    for name, count in counts.items():
        if name not in CATEGORIES or not isinstance(count, Number):
            return None
        if _decimal(count) != len(result.get(name, [])):
            return None
    return result


def _apply_to(name: str, change: Any, records: list) -> list | None:
    if not isinstance(change, dict) or not change or not change.keys() <= {"put", "delete"}:
        return None
    put, delete = change.get("put", []), change.get("delete", [])
    if not isinstance(put, list) or not isinstance(delete, list) or len(put) > MOST_RECORDS:
        return None
    new = _by_key(put, KEYS[name])
    old = _by_key(records, KEYS[name])
    gone = {_key(key) for key in delete}
    if new is None or old is None or None in gone or gone & new.keys() or gone - old.keys():
        return None
    result = {key: new.get(key, record) for key, record in old.items() if key not in gone}
    return [*(result | new).values()]


def _by_key(records: list, name: str) -> dict | None:
    found: dict = {}
    for record in records:
        key = _key(record.get(name)) if isinstance(record, dict) else None
        if key is None or key in found:
            return None
        found[key] = record
    return found


def _key(value: Any) -> tuple | None:
    """Return what two equal keys have in common: a number's value, a string's characters."""
    if isinstance(value, Number):
        return ("number", _decimal(value)) if _decimal(value) is not None else None
    return ("string", value) if isinstance(value, str) else None


def _decimal(digits: str) -> Decimal | None:
    """Return a number's value; None if it is too long to be compared."""
    try:
        return Decimal(digits) if len(digits) <= 1024 else None
    except InvalidOperation:
        return None
