"""A JSON text taken apart into the pieces it was sent in, as strictly as RFC 8259 is written.

msgspec checks the text and tells how long each value is, without making objects of what is in it.
Where the values lie follows from the grammar: it allows nothing between them but names and white
space, which are read here.
"""

import codecs
import json
import mmap
import re
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from .errors import InvalidBackup

#: The most members a body may have, and the longest name of one as JSON text; the front end sends
#: six short ones.
MOST_MEMBERS = 10_000
NAME_BYTES = 1024
#: The most items that are held in memory at once.
MOST_ITEMS = 1_000_000

Text = bytes | mmap.mmap | memoryview

_CHUNK = 64 * 1024
# Arrays of fewer bytes have too few items to take much memory.
_SHORT = 1024 * 1024

STRING = rb'"(?:[^"\\]++|\\.)*+"'
# RFC 8259, sections 2, 4 and 5: what comes before the first value, and between two of them.
_BEGIN_OBJECT = re.compile(rb"\s*\{\s*")
_NAME = re.compile(rb"(" + STRING + rb")\s*:\s*", re.DOTALL)
_BEGIN_ARRAY = re.compile(rb"\s*\[\s*")
_SEPARATOR = re.compile(rb"\s*[,}\]]\s*")
# One step through an array: a string, (1) a bracket that opens, (2) one that closes, (3) the rest.
_STEP = re.compile(STRING + rb'|([\[{])|([\]}])|([^"\[\]{}]++)', re.DOTALL)
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
# Half a UTF-16 pair, escaped. JSON allows it (RFC 8259, section 8.2) and JSON.stringify writes it
# for half an emoji; msgspec refuses it.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_one_copy_at_a_time = threading.Lock()
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])

Result = TypeVar("Result")


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

    Of members with one name the last counts, as in ``JSON.parse``. The number is 0 for one of
    ``arrays`` that is absent, and None for one that is not an array. Raises InvalidBackup, which
    says what is wrong and where.
    """
    _check_utf8(memoryview(text))
    try:
        return _read(text, lambda readable: _split(text, readable, arrays))
    except msgspec.ValidationError as error:
        raise InvalidBackup("The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(text)})" if len(text) else "it is empty"
        raise InvalidBackup(f"The body is not valid JSON: {reason}.") from error
    except RecursionError as error:
        raise InvalidBackup("The body is nested too deep to read.") from error


def items(array: Text) -> list[slice]:
    """Return where the items of an array lie, which takes 200 bytes of memory for each.

    Raises InvalidBackup if the text is not a valid array.
    """
    try:
        return _read(array, _items)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidBackup(f"An array cannot be read: {error}.") from error


def without_surrogates(text: Text) -> bytearray:
    """Copy a text with every escaped surrogate turned into another character's escape."""
    copy = bytearray(text)
    for match in _SURROGATE_ESCAPE.finditer(text):
        copy[match.start() + 2] = ord("0")
    return copy


def _read(text: Text, read: Callable[[Text | bytearray], Result]) -> Result:
    """Read a text, or, if there are half pairs in it, a copy in which everything lies alike."""
    try:
        return read(text)
    except msgspec.DecodeError:
        if not _SURROGATE_ESCAPE.search(text):
            raise
    with _one_copy_at_a_time:
        return read(without_surrogates(text))


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


def _split(
    text: Text, readable: Text | bytearray, arrays: Iterable[str]
) -> tuple[dict[str, Member], dict[str, int | None]]:
    lengths = _lengths_of_values(readable)
    members, position = {}, _BEGIN_OBJECT.match(text).end()
    for length in lengths:
        name = _NAME.match(text, position)
        if len(name[1]) > NAME_BYTES:
            raise _name_too_long()
        value = slice(name.end(), name.end() + length)
        members[json.loads(name[1].decode())] = Member(slice(*name.span(1)), value)
        position = _SEPARATOR.match(text, value.stop).end()
    counts: dict[str, int | None] = dict.fromkeys(arrays, 0)
    for name in counts.keys() & members.keys():
        counts[name] = _count(memoryview(readable)[members[name].value])
    return members, counts


def _lengths_of_values(text: Text | bytearray) -> list[int]:
    """Check a text to be a JSON object; return the lengths of its values in bytes, in order."""
    seen = 0

    def name(_: type, decoded: str) -> _Name:
        nonlocal seen
        seen += 1
        if seen > MOST_MEMBERS:
            raise InvalidBackup(f"The body has more than {MOST_MEMBERS} members.")
        if len(decoded) > NAME_BYTES:
            raise _name_too_long()
        return _Name()

    values = msgspec.json.decode(text, type=dict[_Name, msgspec.Raw], dec_hook=name)
    return [len(memoryview(value)) for value in values.values()]


def _name_too_long() -> InvalidBackup:
    return InvalidBackup(f"The name of a member is longer than {NAME_BYTES} bytes.")


def _items(array: Text | bytearray) -> list[slice]:
    lengths = [len(memoryview(value)) for value in _array_decoder.decode(array)]
    places, position = [], _BEGIN_ARRAY.match(array).end()
    for length in lengths:
        places.append(slice(position, position + length))
        position = _SEPARATOR.match(array, position + length).end()
    return places


def _count(value: memoryview) -> int | None:
    """Count the items of a valid value, if it is an array."""
    if value[:1] != b"[":
        return None
    if len(value) <= _SHORT:
        return len(_array_decoder.decode(value))
    count = _count_objects(value)
    return _count_by_steps(value) if count is None else count


def _count_objects(array: memoryview) -> int | None:
    """Count the items of an array of objects; None if there are others, or too many to hold.

    The front end's are all objects. msgspec passes over what is in them.
    """
    seen = 0

    def count(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > MOST_ITEMS:
            raise ValueError

    item = msgspec.defstruct("Item", [], namespace={"__post_init__": count}, gc=False)
    try:
        msgspec.json.decode(array, type=list[item])
    except msgspec.ValidationError:
        return None
    return seen


def _count_by_steps(array: memoryview) -> int:
    """Count the commas that are in no inner array or object: slow, but without memory for each."""
    if _EMPTY_ARRAY.fullmatch(array):
        return 0
    depth = commas = 0
    for step in _STEP.finditer(array):
        if step.lastindex == 1:
            depth += 1
        elif step.lastindex == 2:
            depth -= 1
        elif step.lastindex == 3 and depth == 1:
            commas += step[3].count(b",")
    return commas + 1
