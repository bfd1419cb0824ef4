"""A JSON object's text taken apart into its members, as strictly as RFC 8259 is written.

msgspec says whether the text is valid and how long each value is; every member is then a piece of
the text as it was sent, and no object is made of what is in it. Of members with one name the last
counts, as in ``JSON.parse``.
"""

import codecs
import json
import mmap
import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from .errors import InvalidBackup

#: The most members a body may have, and the longest name of one as JSON text; the front end sends
#: six short ones.
MOST_MEMBERS = 10_000
NAME_BYTES = 1024

_CHUNK = 64 * 1024
# msgspec makes an object of every item it counts. A text of so many commas may have as many items,
# and is counted by walking over it: slower, but in no memory.
_MANY_COMMAS = 1_000_000

STRING = rb'"(?:[^"\\]++|\\.)*+"'
_NAME = re.compile(rb"[{,\s]*(" + STRING + rb")\s*:\s*", re.DOTALL)


def _container(depth: int) -> bytes:
    """Return a pattern for an array or object with at most so many levels of others in it."""
    inner = b"|" + _container(depth - 1) if depth else b""
    return rb'[\[{](?:[^"\[\]{}]++|' + STRING + inner + rb")*+[\]}]"


# A string, a container that is not nested deep, a bracket of one that is, or (1) what is between.
_STRUCTURE = re.compile(STRING + b"|" + _container(4) + rb'|[\[\]{}]|([^"\[\]{}]++)', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
_BEFORE_ITEM = re.compile(rb"\s*,?\s*")
# Half a UTF-16 pair, escaped. JSON allows it (RFC 8259, section 8.2) and JSON.stringify writes it
# for half an emoji; msgspec refuses it.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_one_copy_at_a_time = threading.Lock()

_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])

Text = bytes | mmap.mmap | memoryview


class _Name:
    """A member's name. No two are equal, so that a dict keeps all members and their order."""


class Member(NamedTuple):
    """Where one member of an object lies in its text: its name with the quotes, and its value."""

    name: slice
    value: slice


def split(
    text: Text, arrays: Iterable[str] = ()
) -> tuple[dict[str, Member], dict[str, int | None]]:
    """Check a text to be one JSON object; return its members and the numbers of items in some.

    The number is 0 for one of ``arrays`` that is absent, and None for one that is not an array.
    Raises InvalidBackup, which says what is wrong and where.
    """
    commas = _check_utf8(memoryview(text))
    try:
        try:
            return _split_checked(text, text, arrays, commas)
        except InvalidBackup:
            if not _SURROGATE_ESCAPE.search(text):
                raise
        with _one_copy_at_a_time:
            return _split_checked(text, without_surrogates(text), arrays, commas)
    except RecursionError as error:
        raise InvalidBackup("The body is nested too deep to read.") from error


def items(array: memoryview, most: int) -> list[slice]:
    """Return where the items of an array lie, ``most`` of them, since each takes some memory.

    Raises InvalidBackup if there are more, or the text is not a valid array.
    """
    try:
        try:
            return _items(array, most)
        except msgspec.DecodeError:
            return _items(memoryview(without_surrogates(array)), most)
    except msgspec.DecodeError as error:
        raise InvalidBackup(f"An array is not valid JSON: {error}.") from error


def _items(array: memoryview, most: int) -> list[slice]:
    commas = sum(bytes(array[at : at + _CHUNK]).count(b",") for at in range(0, len(array), _CHUNK))
    is_large = commas > _MANY_COMMAS and _count(array, commas) > most
    values = [] if is_large else _array_decoder.decode(array)
    if is_large or len(values) > most:
        raise InvalidBackup(f"An array has more than {most} items.")
    places, position = [], 1
    for value in values:
        start = _BEFORE_ITEM.match(array, position).end()
        position = start + len(memoryview(value))
        places.append(slice(start, position))
    return places


def _check_utf8(view: memoryview) -> int:
    """Check the encoding a piece at a time; return the number of commas seen on the way."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    commas = 0
    for start in range(0, len(view), _CHUNK):
        chunk = bytes(view[start : start + _CHUNK])
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=start + _CHUNK >= len(view))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            raise InvalidBackup(f"The body is not valid UTF-8 (byte {at}).") from error
        if len(view) > _MANY_COMMAS:  # counting is not for nothing: 0.3 ms a megabyte
            commas += chunk.count(b",")
    return commas


def without_surrogates(text: Text) -> bytearray:
    """Copy a text with every escaped surrogate turned into another character's escape."""
    copy = bytearray(text)
    for match in _SURROGATE_ESCAPE.finditer(text):
        copy[match.start() + 2] = ord("0")
    return copy


def _split_checked(
    text: Text, readable: Text | bytearray, arrays: Iterable[str], commas: int
) -> tuple[dict[str, Member], dict[str, int | None]]:
    """Do :func:`split` on what msgspec can read: the text, or an equally long copy of it."""
    members = _members(memoryview(text), _lengths(readable))
    counts: dict[str, int | None] = dict.fromkeys(arrays, 0)
    view = memoryview(readable)
    for name in counts.keys() & members.keys():
        counts[name] = _count(view[members[name].value], commas)
    return members, counts


def _lengths(readable: Text | bytearray) -> list[int]:
    """Check a text to be a JSON object; return the lengths of its values in bytes, in order."""
    seen = 0

    def name(_: type, text: str) -> _Name:
        nonlocal seen
        seen += 1
        if seen > MOST_MEMBERS:
            raise InvalidBackup(f"The body has more than {MOST_MEMBERS} members.")
        if len(text) > NAME_BYTES:
            raise _name_too_long()
        return _Name()

    try:
        values = msgspec.json.decode(readable, type=dict[_Name, msgspec.Raw], dec_hook=name)
    except msgspec.ValidationError as error:
        raise InvalidBackup("The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(readable)})" if len(readable) else "it is empty"
        raise InvalidBackup(f"The body is not valid JSON: {reason}.") from error
    return [len(memoryview(value)) for value in values.values()]


def _members(view: memoryview, lengths: list[int]) -> dict[str, Member]:
    """Find the members of a valid object by the lengths of all its values."""
    members, position = {}, 0
    for length in lengths:
        match = _NAME.match(view, position)
        if len(match[1]) > NAME_BYTES:
            raise _name_too_long()
        position = match.end() + length
        value = slice(match.end(), position)
        members[json.loads(match[1].decode())] = Member(slice(*match.span(1)), value)
    return members


def _name_too_long() -> InvalidBackup:
    return InvalidBackup(f"The name of a member is longer than {NAME_BYTES} bytes.")


def _count(value: memoryview, commas: int) -> int | None:
    """Count the items of a valid value, if it is an array."""
    if value[:1] != b"[":
        return None
    if commas <= _MANY_COMMAS:
        return len(_array_decoder.decode(value))
    if _EMPTY_ARRAY.fullmatch(value):
        return 0
    depth, between = 1, 0
    for match in _STRUCTURE.finditer(value, 1):
        depth += _STEPS.get(match[0], 0)
        if depth == 1 and match[1]:
            between += match[1].count(b",")
    return between + 1
