"""JSON text as the slices it was sent in, read as strictly as RFC 8259 is written.

msgspec checks a text and gives the length of each value, without building objects. Where the values
lie follows: between two of them are only names, separators and white space, which are read here.
"""

import codecs
import itertools
import json
import math
import mmap
import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from .errors import InvalidBackup

#: The most members of an object; the front end sends eight.
MOST_MEMBERS = 10_000
#: What is read or written at once, in bytes: for more the kernel looks for memory in one piece.
CHUNK = 256 * 1024

Text = bytes | bytearray | mmap.mmap | memoryview

# RFC 8259, sections 2, 4 and 5: what stands before the first value, and between two values.
_BEGINNING = re.compile(rb"\s*[{\[]\s*")
_NAME = re.compile(rb'("(?:[^"\\]++|\\.)*+")\s*:\s*', re.DOTALL)
_SEPARATOR = re.compile(rb"\s*[,}\]]\s*")
# Half a UTF-16 pair, escaped, as of half an emoji: valid (RFC 8259, 8.2), but msgspec refuses it.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_one_copy_at_a_time = threading.Lock()
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class _Name:
    """A member's name. No two are equal, so a dict keeps every member, in order."""


class Member(NamedTuple):
    """A member of an object: its text, its value's text, and where in the object that starts."""

    text: memoryview
    value: memoryview
    start: int


def members(text: Text) -> dict[str, Member]:
    """Return the members of a JSON object; of two with one name the last, as in ``JSON.parse``.

    Raises InvalidBackup, which says what is wrong, and at which byte.
    """
    check_utf8(text)
    try:
        lengths = read(text, _lengths_of_values)
    except msgspec.ValidationError as error:
        raise InvalidBackup("The body must be a JSON object.") from error
    found, view, position = {}, memoryview(text), _BEGINNING.match(text).end()
    for length in lengths:
        name = _NAME.match(text, position)
        start, stop = name.end(), name.end() + length
        member = Member(view[position:stop], view[start:stop], start)
        found[json.loads(name[1].decode())] = member
        position = _SEPARATOR.match(text, stop).end()
    return found


def items(array: Text) -> list[slice]:
    """Return where the items of an array lie, in 200 bytes of memory for each."""
    values = read(array, _array_decoder.decode)
    places, position = [], _BEGINNING.match(array).end()
    for value in values:
        places.append(slice(position, position + len(memoryview(value))))
        position = _SEPARATOR.match(array, places[-1].stop).end()
    return places


def count(name: str, value: Text, most: float = math.inf) -> int:
    """Count the items of a valid value, which is that of the member with this name.

    Raises InvalidBackup if it is no array, or has more than ``most``, before they take memory.
    """
    if value[:1] != b"[":
        raise InvalidBackup(f"The member {name} must be an array.")
    if len(value) <= 2 * most:  # an item takes two bytes, its comma included
        return len(read(value, _array_decoder.decode))
    too_many = InvalidBackup(f"The member {name} has more than {most} items.")
    return read(value, lambda array: _count_many(array, most, too_many))


def read(text: Text, decode: Callable[[Text], Any]) -> Any:
    """Decode a text, or, if it has half pairs, a copy with other characters in their places.

    Raises InvalidBackup for what is not JSON or nested too deep, and msgspec.ValidationError.
    """
    try:
        return decode(text)
    except RecursionError as error:  # how deep is too deep depends on the caller's own depth
        raise InvalidBackup("The body is nested too deep to read.") from error
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        if _SURROGATE_ESCAPE.search(text):
            with _one_copy_at_a_time:
                copy = bytearray(text)
                for match in _SURROGATE_ESCAPE.finditer(text):
                    copy[match.start() + 2] = ord("0")
                return read(copy, decode)
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(text)})" if len(text) else "it is empty"
        raise InvalidBackup(f"The body is not valid JSON: {reason}.") from error


def check_utf8(text: Text) -> None:
    """Check the encoding, a piece at a time; raise InvalidBackup."""
    view, position = memoryview(text), 0
    while position < len(view):
        stop = position + CHUNK
        try:
            _, used = codecs.utf_8_decode(view[position:stop], "strict", stop >= len(view))
        except UnicodeDecodeError as error:
            place = position + error.start
            raise InvalidBackup(f"The body is not valid UTF-8 (byte {place}).") from error
        position += used


def _lengths_of_values(text: Text) -> list[int]:
    """Check that a text is an object; return the lengths of its values in bytes, in order."""
    numbers = itertools.count(1)

    def name(_: type, __: str) -> _Name:
        if next(numbers) > MOST_MEMBERS:
            raise InvalidBackup(f"The body has more than {MOST_MEMBERS} members.")
        return _Name()

    values = msgspec.json.decode(text, type=dict[_Name, msgspec.Raw], dec_hook=name)
    return [len(memoryview(value)) for value in values.values()]


def _count_many(array: Text, most: float, too_many: InvalidBackup) -> int:
    numbers = itertools.count(1)

    def see(_: object) -> None:
        if next(numbers) > most:
            raise too_many

    # An object whose members msgspec skips.
    item = msgspec.defstruct("Item", [], namespace={"__post_init__": see}, gc=False)
    try:
        return len(msgspec.json.decode(array, type=list[item]))
    except msgspec.ValidationError:  # they are not all objects, and may not have as many commas
        chunks = (bytes(array[at : at + CHUNK]) for at in range(0, len(array), CHUNK))
        if sum(chunk.count(b",") for chunk in chunks) >= most:
            raise too_many from None
    return len(_array_decoder.decode(array))
