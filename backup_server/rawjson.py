"""JSON text as the slices it was sent in, read as strictly as RFC 8259 is written.

msgspec checks a text and gives the length of each value, without building objects. Where the values
lie follows from the grammar: between two of them are only names, separators and white space, which
are read here.
"""

import codecs
import json
import math
import mmap
import re
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from .errors import InvalidBackup

#: The most members of an object; the front end sends eight.
MOST_MEMBERS = 10_000

Text = bytes | mmap.mmap | memoryview

_CHUNK = 64 * 1024
# An array of fewer bytes has less than a million items, 80 bytes each while they are counted.
_FEW_ITEMS_BYTES = 2_000_000
# RFC 8259, sections 2, 4 and 5: what stands before the first value, and between two values.
_BEGIN_OBJECT = re.compile(rb"\s*\{\s*")
_NAME = re.compile(rb'("(?:[^"\\]++|\\.)*+")\s*:\s*', re.DOTALL)
_BEGIN_ARRAY = re.compile(rb"\s*\[\s*")
_SEPARATOR = re.compile(rb"\s*[,}\]]\s*")
# Half a UTF-16 pair, escaped. JSON allows it (RFC 8259, section 8.2), and JSON.stringify writes it
# for half an emoji; msgspec refuses it.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_one_copy_at_a_time = threading.Lock()
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])

Result = TypeVar("Result")


class _Name:
    """A member's name. No two are equal, so a dict keeps every member, in order."""


class Member(NamedTuple):
    """Where a member of an object lies in its text: the name with its quotes, and the value."""

    name: slice
    value: slice


def members(text: Text) -> dict[str, Member]:
    """Check that a text is one JSON object, and return its members.

    Of members with one name the last counts, as in ``JSON.parse``. Raises InvalidBackup, which
    says what is wrong, and at which byte.
    """
    _check_utf8(memoryview(text))
    try:
        lengths = read(text, _lengths_of_values)
    except msgspec.ValidationError as error:
        raise InvalidBackup("The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(text)})" if len(text) else "it is empty"
        raise InvalidBackup(f"The body is not valid JSON: {reason}.") from error
    found, position = {}, _BEGIN_OBJECT.match(text).end()
    for length in lengths:
        name = _NAME.match(text, position)
        value = slice(name.end(), name.end() + length)
        found[json.loads(name[1].decode())] = Member(slice(*name.span(1)), value)
        position = _SEPARATOR.match(text, value.stop).end()
    return found


def items(array: Text) -> list[slice]:
    """Return where the items of a valid array lie, in 200 bytes of memory for each.

    Raises InvalidBackup if they are nested too deep.
    """
    values = read(array, _array_decoder.decode)
    places, position = [], _BEGIN_ARRAY.match(array).end()
    for value in values:
        places.append(slice(position, position + len(memoryview(value))))
        position = _SEPARATOR.match(array, places[-1].stop).end()
    return places


def count(name: str, value: Text, most: float = math.inf) -> int:
    """Count the items of a valid value, which is that of the member with this name.

    Raises InvalidBackup if it is no array, or if there are more than ``most``, before they take
    memory. Items that are not all objects may not have as many commas in them either.
    """
    if value[:1] != b"[":
        raise InvalidBackup(f"The member {name} must be an array.")
    too_many = InvalidBackup(f"The member {name} has more than {most} items.")
    number = read(value, lambda text: _count(text, most, too_many))
    if number > most:
        raise too_many
    return number


def has_half_pair(value: Text) -> bool:
    """Tell whether a valid string has half a surrogate pair in it."""
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except msgspec.DecodeError:
        return True
    return False


def read(text: Text, read: Callable[[Text | bytearray], Result]) -> Result:
    """Read a text, or, if it has half pairs, a copy with other characters in their places.

    Raises what ``read`` does, and InvalidBackup for what is nested too deep.
    """
    try:
        try:
            return read(text)
        except msgspec.DecodeError:
            if not _SURROGATE_ESCAPE.search(text):
                raise
        with _one_copy_at_a_time:
            copy = bytearray(text)
            for match in _SURROGATE_ESCAPE.finditer(text):
                copy[match.start() + 2] = ord("0")
            return read(copy)
    except RecursionError as error:  # how deep is too deep depends on who calls
        raise InvalidBackup("The body is nested too deep to read.") from error


def _check_utf8(view: memoryview) -> None:
    """Check the encoding, a piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(view), _CHUNK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[start : start + _CHUNK], final=start + _CHUNK >= len(view))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            raise InvalidBackup(f"The body is not valid UTF-8 (byte {at}).") from error


def _lengths_of_values(text: Text | bytearray) -> list[int]:
    """Check that a text is an object; return the lengths of its values in bytes, in order."""
    seen = 0

    def name(_: type, __: str) -> _Name:
        nonlocal seen
        seen += 1
        if seen > MOST_MEMBERS:
            raise InvalidBackup(f"The body has more than {MOST_MEMBERS} members.")
        return _Name()

    values = msgspec.json.decode(text, type=dict[_Name, msgspec.Raw], dec_hook=name)
    return [len(memoryview(value)) for value in values.values()]


def _count(array: Text | bytearray, most: float, too_many: InvalidBackup) -> int:
    if len(array) <= _FEW_ITEMS_BYTES:
        return len(_array_decoder.decode(array))
    seen = 0

    def see(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > most:
            raise too_many

    # An object whose members msgspec skips.
    item = msgspec.defstruct("Item", [], namespace={"__post_init__": see}, gc=False)
    try:
        msgspec.json.decode(array, type=list[item])
        return seen
    except msgspec.ValidationError:  # they are not all objects
        chunks = (bytes(array[at : at + _CHUNK]) for at in range(0, len(array), _CHUNK))
        if sum(chunk.count(b",") for chunk in chunks) >= most:
            raise too_many from None
        return len(_array_decoder.decode(array))
