"""What is different from a stored backup, and the whole backup that comes of it.

A change holds, by category, the records to ``put`` and the keys to ``delete``. The text of the
result is spliced from the bytes of the stored backup, the base, and of the change, record by
record, so that what is untouched stays as it was sent. It is a JSON object like the body of any
upload, to be checked and stored in the same way.

The base's file is read once, from start to end, and compared with its SHA-256 on the way: damage is
not handed on. In memory is one changed category at a time.
"""

import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec

from . import document, members
from .document import Head
from .errors import DamagedBackup, InvalidBackup, UnusableBase
from .members import Text
from .upload import CATEGORIES

#: The member of a record that tells it from the others of its category.
KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
#: The most records of a category that are told apart in memory; more have to be uploaded whole.
MOST_RECORDS = 250_000
#: Held while a base is read and the result written, since that takes a category's size in memory.
one_at_a_time = threading.Lock()

# A number by its value: 1, 1.0 and 1e0 are one key, 1 and "1" are two.
Key = str | Decimal
Piece = bytes | memoryview
Counts = dict[Literal[CATEGORIES], Annotated[float, msgspec.Meta(ge=0)]]

_CHUNK = 256 * 1024
_LONGEST_NUMBER = 1024
_NO_ITEMS = memoryview(b"[]")


def _key_decoder(name: str) -> msgspec.json.Decoder:
    """Return a reader of the one member of a record that is its key, empty where there is none."""
    fields = [("key", msgspec.Raw, msgspec.Raw())]
    return msgspec.json.Decoder(msgspec.defstruct("Keyed", fields, rename={"key": name}))


_key_decoders = {name: _key_decoder(name) for name in set(KEYS.values())}


class CategoryChange(NamedTuple):
    """What is to be done to one category: its new records as they were sent, and its old keys."""

    put: dict[Key, memoryview]
    delete: set[Key]


class Change(NamedTuple):
    """A checked change.

    ``others`` are the other members that an upload may have, by name, each as its text with the
    name. ``counts`` is what the client expects of the result, by category.
    """

    categories: dict[str, CategoryChange]
    others: dict[str, bytes]
    counts: dict[str, int]

    def check_counts(self, counts: dict[str, int]) -> None:
        """Raise UnusableBase if the result has other counts than the client expects."""
        for name, count in self.counts.items():
            if counts[name] != count:
                raise UnusableBase(f"With this change {name} has {counts[name]} items, not {count}")


def read(text: Text) -> Change:
    """Check a change's body; raise InvalidBackup, which says what is wrong and where."""
    view, categories, others, counts = memoryview(text), {}, {}, {}
    found, _ = members.split(text)
    for name, member in found.items():
        value = view[member.value]
        if name in KEYS:
            categories[name] = _read_category(name, value)
        elif name == "counts":
            counts = _read_counts(value)
        else:
            others[name] = bytes(view[member.name]) + b":" + bytes(value)
    return Change(categories, others, counts)


def splice(change: Change, file: BinaryIO, head: Head) -> Iterator[Piece]:
    """Yield what a whole upload of the changed state would be, in pieces.

    ``file`` and ``head`` are the base's. Raises UnusableBase, at the latest after the last piece,
    if the base is damaged or the change does not fit it.
    """
    try:
        yield from _splice(change, _Base(file, head))
    except (DamagedBackup, InvalidBackup) as error:
        raise UnusableBase(f"The base is damaged: {str(error).rstrip('.')}") from error


def _read_category(name: str, value: memoryview) -> CategoryChange:
    lists = _read_lists(name, value)
    put: dict[Key, memoryview] = {}
    for place in members.items(lists["put"], MOST_RECORDS):
        record = lists["put"][place]
        key = _key_of(record, KEYS[name])
        if key is None:
            raise InvalidBackup(f"A record in {name}.put has no {KEYS[name]} to be its key.")
        if key in put:
            raise InvalidBackup(f"The member {name}.put has two records of one key: {_show(key)}.")
        put[key] = record
    delete = set()
    for place in members.items(lists["delete"], MOST_RECORDS):
        key = _read_key(lists["delete"][place])
        if key is None:
            raise InvalidBackup(f"The member {name}.delete must hold keys: strings or numbers.")
        if key in put:
            raise InvalidBackup(f"The member {name} both puts and deletes {_show(key)}.")
        delete.add(key)
    return CategoryChange(put, delete)


def _read_lists(name: str, value: memoryview) -> dict[str, memoryview]:
    found = members.split(value)[0] if value[:1] == b"{" else {}
    if not found or not found.keys() <= {"put", "delete"}:
        raise InvalidBackup(f"The member {name} must be an object with put, delete or both.")
    lists = {part: value[member.value] for part, member in found.items()}
    for part, array in lists.items():
        if array[:1] != b"[":
            raise InvalidBackup(f"The member {name}.{part} must be an array.")
    return {"put": _NO_ITEMS, "delete": _NO_ITEMS} | lists


def _read_counts(value: memoryview) -> dict[str, int]:
    wrong = InvalidBackup("The member counts must hold the number of items by category.")
    try:
        counts = msgspec.json.decode(value, type=Counts)
    except msgspec.MsgspecError as error:
        raise wrong from error
    if not all(count.is_integer() for count in counts.values()):  # 2.0 is one in JSON
        raise wrong
    return {name: int(count) for name, count in counts.items()}


def _splice(change: Change, base: "_Base") -> Iterator[Piece]:
    """Copy the base's data, but for the places where something else comes, and add what is new."""
    edits, additions = [], []
    for name, category in change.categories.items():
        if name in base.places:
            edits.append((*base.places[name], name))
        else:
            array = b"".join(_changed(name, _NO_ITEMS, category))
            additions.append(b'"%s":%s' % (name.encode(), array))
    others = base.others() if change.others.keys() - {"clientTimestamp"} else {}
    for name, text in change.others.items():
        if name in others:
            edits.append((*others[name], text))
        else:
            additions.append(text)
    for start, stop, what in sorted(edits):
        yield from base.copy(start)
        if isinstance(what, str):
            yield from _changed(what, base.take(stop), change.categories[what])
        else:
            base.take(stop)
            yield what
    yield from base.copy(base.end)
    if additions:
        separator = b"," if base.places or base.others() else b""
        yield separator + b",".join(additions)
    yield b"}"
    base.finish()


def _changed(name: str, array: memoryview, change: CategoryChange) -> Iterator[Piece]:
    """Yield a category's array with the change made to it.

    Records that stay, and what is between two of them, are left as they are.
    """
    put, delete, keys = dict(change.put), set(change.delete), set()
    pieces: list[memoryview] = []
    kept: slice | None = None  # the records at the end of pieces that stay, if any do
    for record in members.items(array, MOST_RECORDS):
        key = _key_of(array[record], KEYS[name])
        if key is None:
            raise UnusableBase(f"A record in {name} has no {KEYS[name]} to be its key")
        if key in keys:
            raise UnusableBase(f"Two records in {name} have one key: {_show(key)}")
        keys.add(key)
        if key in delete:
            delete.remove(key)
            kept = None
        elif key in put:
            pieces.append(put.pop(key))
            kept = None
        elif kept:
            kept = slice(kept.start, record.stop)
            pieces[-1] = array[kept]
        else:
            kept = record
            pieces.append(array[kept])
    if delete:
        raise UnusableBase(f"There is nothing in {name} to delete with key {_show(delete.pop())}")
    yield b"["
    for number, piece in enumerate([*pieces, *put.values()]):
        if number:
            yield b","
        yield piece
    yield b"]"


def _key_of(record: memoryview, name: str) -> Key | None:
    """Return a record's key; None if it is no object or has none."""
    if record[:1] != b"{":
        return None
    try:
        text = _key_decoders[name].decode(record).key
    except msgspec.DecodeError:  # half a surrogate pair in it
        found, _ = members.split(record)
        text = record[found[name].value] if name in found else b""
    return _read_key(memoryview(text))


def _read_key(text: memoryview) -> Key | None:
    """Read a JSON text that is a key; None if it is neither a string nor a number."""
    kind = bytes(text[:1])
    if kind == b'"':
        return json.loads(bytes(text))
    if not kind.isdigit() and kind != b"-":
        return None
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        return Decimal(str(text, "ascii"))
    except InvalidOperation:  # its exponent has more than 18 digits
        return None


def _show(key: Key) -> str:
    text = json.dumps(key) if isinstance(key, str) else str(key)
    return text if len(text) <= 80 else f"{text[:80]}…"


class _Base:
    """The base's file, read once from its start to its end.

    ``places`` are where its categories lie, by name, and ``end`` where the last brace of its data.
    """

    def __init__(self, file: BinaryIO, head: Head):
        self._file, self._size, self._data_start = file, head.size, head.data_start
        parts = {name: head.part(name) for name in CATEGORIES}
        self.places = {name: (at, at + length) for name, (at, length) in parts.items() if length}
        self.end = head.data_start + head.layout.data[1] - 1
        start = bytes(self._pread(0, head.data_start))
        self._digest = document.Digest(start) if document.has_head(start) else None
        self._position = head.data_start

    def others(self) -> dict[str, tuple[int, int]]:
        """Find the members of the data that are no categories, each with its name."""
        # A server of ours writes them after the categories; then "," stands where "{" has to.
        start = max(stop for _, stop in self.places.values()) if self._digest else self._data_start
        if start == self.end:
            return {}
        text = self._pread(start, self.end + 1)
        text[:1] = b"{"
        found, _ = members.split(text)
        return {
            name: (start + member.name.start, start + member.value.stop)
            for name, member in found.items()
            if name not in self.places
        }

    def copy(self, stop: int) -> Iterator[bytes]:
        """Yield what comes next, up to an offset in the file."""
        while self._position < stop:
            yield self.take(min(self._position + _CHUNK, stop))

    def take(self, stop: int) -> memoryview:
        """Return what comes next, up to an offset in the file."""
        text = self._pread(self._position, stop)
        if self._digest:
            self._digest.update(text)
        self._position = stop
        return text

    def finish(self) -> None:
        """Raise DamagedBackup unless all that was read is what was once written."""
        for _ in self.copy(self._size):
            pass
        if self._digest:
            self._digest.check()

    def _pread(self, start: int, stop: int) -> memoryview:
        if not start <= stop <= self._size:
            raise DamagedBackup("Its parts do not lie where it says.")
        text, done = memoryview(bytearray(stop - start)), 0
        try:
            while done < len(text):
                count = os.preadv(self._file.fileno(), [text[done : done + _CHUNK]], start + done)
                if not count:
                    raise DamagedBackup("It has lost its end.")
                done += count
        except OSError as error:
            raise DamagedBackup(f"It cannot be read: {error.strerror}.") from error
        return text
