"""What is different from a stored backup, and the whole backup that comes of it.

A change holds, by category, the records to ``put`` and the keys to ``delete``. The text of the
result is spliced from the bytes of the stored backup, the base, and of the change, record by
record, so that what is untouched stays as it was sent. It is a JSON object like the body of any
upload, to be checked and stored in the same way. The base is compared with its SHA-256: damage is
not handed on.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

import msgspec

from . import document, members
from .document import Head
from .errors import DamagedBackup, InvalidBackup, UnusableBase
from .members import Text
from .upload import CATEGORIES, check_client_timestamp

#: The member of a record that tells it from the others of its category.
KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
#: The most records of a category that are told apart in memory; more have to be uploaded whole.
MOST_RECORDS = 250_000


class Number(NamedTuple):
    """A number by its value: 1, 1.0 and 1e0 are one key, 1 and "1" are two.

    As text, since hashes of numbers are known to everybody: who chose keys that all have the same
    one could keep a processor busy for hours.
    """

    text: str


Key = str | Number
Piece = bytes | memoryview
Counts = dict[Literal[CATEGORIES], Annotated[float, msgspec.Meta(ge=0)]]

_CHUNK = 1024 * 1024
_LONGEST_NUMBER = 1024
# Nothing is rounded (decimal's documentation, "Decimal FAQ").
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_NUMBER_STARTS = frozenset("-0123456789")
_NO_ITEMS = memoryview(b"[]")
_hashers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="base-hasher")


def _keyed(name: str, *field: Any) -> type[msgspec.Struct]:
    """Return a type that reads of a record only its key, which has this name."""
    return msgspec.defstruct("Keyed", [("key", *field)], rename={"key": name}, gc=False)


_names = set(KEYS.values())
# The text of a record's key, empty where it has none.
_key_decoders = {
    name: msgspec.json.Decoder(_keyed(name, msgspec.Raw, msgspec.Raw())) for name in _names
}
# All of an array's records at once, if every key is a string or an integer.
_usual_decoders = {name: msgspec.json.Decoder(list[_keyed(name, str | int)]) for name in _names}


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
            if name == "clientTimestamp":
                check_client_timestamp(bytes(value))
            others[name] = bytes(view[member.name]) + b":" + bytes(value)
    return Change(categories, others, counts)


def splice(change: Change, base: Text, head: Head) -> Iterator[Piece]:
    """Yield what a whole upload of the changed state would be, in pieces.

    ``base`` is the text of the base's file, ``head`` its head. Raises UnusableBase, at the latest
    after the last piece, if the base is damaged or the change does not fit it.
    """
    try:
        if len(base) != head.size:
            raise DamagedBackup("It has lost its end.")
        is_hashed = document.has_head(base[: document.HEAD_BYTES])
        hashing = _hashers.submit(document.check_digest, base) if is_hashed else None
        yield from _splice(change, memoryview(base), head)
        if hashing:
            hashing.result()
    except (DamagedBackup, InvalidBackup) as error:
        raise UnusableBase(f"The base is damaged: {str(error).rstrip('.')}") from error


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield a base's file from start to end; raise UnusableBase if its disk cannot read it."""
    try:
        while piece := file.read(_CHUNK):
            yield piece
    except OSError as error:
        raise UnusableBase(f"The base cannot be read: {error.strerror}") from error


def _read_category(name: str, value: memoryview) -> CategoryChange:
    lists = _read_lists(name, value)
    put: dict[Key, memoryview] = {}
    for place in members.items(lists["put"]):
        record = lists["put"][place]
        key = _key_of(record, KEYS[name])
        if key is None:
            raise InvalidBackup(f"A record in {name}.put has no {KEYS[name]} to be its key.")
        if key in put:
            raise InvalidBackup(f"The member {name}.put has two records of one key: {_show(key)}.")
        put[key] = record
    delete = set()
    for place in members.items(lists["delete"]):
        key = _read_key(lists["delete"][place])
        if key is None:
            raise InvalidBackup(f"The member {name}.delete must hold keys: strings or numbers.")
        if key in put:
            raise InvalidBackup(f"The member {name} both puts and deletes {_show(key)}.")
        delete.add(key)
    return CategoryChange(put, delete)


def _read_lists(name: str, value: memoryview) -> dict[str, memoryview]:
    is_object = value[:1] == b"{"
    found, counts = members.split(value, ["put", "delete"]) if is_object else ({}, {})
    if not found or not found.keys() <= counts.keys():
        raise InvalidBackup(f"The member {name} must be an object with put, delete or both.")
    for part, count in counts.items():
        if count is None:
            raise InvalidBackup(f"The member {name}.{part} must be an array.")
        if count > MOST_RECORDS:
            raise _too_many(name)
    given = {part: value[member.value] for part, member in found.items()}
    return {"put": _NO_ITEMS, "delete": _NO_ITEMS} | given


def _too_many(name: str) -> UnusableBase:
    return UnusableBase(f"More than {MOST_RECORDS} records in {name} cannot be told apart")


def _read_counts(value: memoryview) -> dict[str, int]:
    wrong = InvalidBackup("The member counts must hold the number of items by category.")
    try:
        counts = msgspec.json.decode(value, type=Counts)
    except msgspec.MsgspecError as error:
        raise wrong from error
    if not all(count.is_integer() for count in counts.values()):  # 2.0 is one in JSON
        raise wrong
    return {name: int(count) for name, count in counts.items()}


def _splice(change: Change, base: memoryview, head: Head) -> Iterator[Piece]:
    """Copy the base's data, but for the places where something else comes, and add what is new."""
    places = _places(base, head, change)
    edits, additions = [], []
    for name, category in change.categories.items():
        if name not in places:
            array = b"".join(_changed(name, _NO_ITEMS, category))
            additions.append(b'"%s":%s' % (name.encode(), array))
        elif head.counts.get(name, 0) > MOST_RECORDS:
            raise _too_many(name)
        else:
            edits.append((places[name], _changed(name, base[places[name]], category)))
    for name, text in change.others.items():
        if name in places:
            edits.append((places[name], [text]))
        else:
            additions.append(text)
    position, end = head.data_start, _end_of_data(head)
    for place, pieces in sorted(edits, key=lambda edit: edit[0].start):
        yield base[position : place.start]
        yield from pieces
        position = place.stop
    yield base[position:end]
    if additions:
        yield b"," * bool(places) + b",".join(additions)
    yield b"}"


def _places(base: memoryview, head: Head, change: Change) -> dict[str, slice]:
    """Find the members of the base's data: categories' arrays, and others with their names.

    The others are looked for only if it matters which there are.
    """
    parts = {name: head.part(name) for name in CATEGORIES}
    places = {name: slice(at, at + length) for name, (at, length) in parts.items() if length}
    if places and not change.others.keys() - {"clientTimestamp"}:
        return places
    start = head.data_start
    found, _ = members.split(base[start : _end_of_data(head) + 1])
    others = {
        name: slice(start + member.name.start, start + member.value.stop)
        for name, member in found.items()
    }
    return others | places


def _end_of_data(head: Head) -> int:
    """Return where the last brace of its data lies."""
    return head.data_start + head.layout.data[1] - 1


def _changed(name: str, array: memoryview, change: CategoryChange) -> Iterator[Piece]:
    """Yield a category's array with the change made to it.

    Records that stay, and what is between two of them, are left as they are.
    """
    places = members.items(array)
    keys = _keys_of(array, places, KEYS[name])
    _check_keys(name, keys, change.delete)
    put = dict(change.put)
    pieces: list[memoryview] = []
    kept: slice | None = None  # the records at the end of pieces that stay, if any do
    for key, place in zip(keys, places, strict=True):
        if key in change.delete or key in put:
            pieces += [put.pop(key)] if key in put else []
            kept = None
        elif kept:
            kept = slice(kept.start, place.stop)
            pieces[-1] = array[kept]
        else:
            kept = place
            pieces.append(array[kept])
    yield b"["
    for number, piece in enumerate([*pieces, *put.values()]):
        if number:
            yield b","
        yield piece
    yield b"]"


def _check_keys(name: str, keys: list[Key | None], delete: set[Key]) -> None:
    if None in keys:
        raise UnusableBase(f"A record in {name} has no {KEYS[name]} to be its key")
    known = set(keys)
    if len(known) < len(keys):
        ((twice, _),) = Counter(keys).most_common(1)
        raise UnusableBase(f"Two records in {name} have one key: {_show(twice)}")
    if missing := delete - known:
        key = _show(next(iter(missing)))
        raise UnusableBase(f"There is nothing in {name} to delete with key {key}")


def _keys_of(array: memoryview, places: list[slice], name: str) -> list[Key | None]:
    """Return the keys of an array's records; None for what is no object or has none."""
    try:
        keys = [record.key for record in _usual_decoders[name].decode(array)]
        return [key if isinstance(key, str) else _number(key) for key in keys]
    except msgspec.DecodeError:  # they are not all strings and integers, or half a pair is in them
        return [_key_of(array[place], name) for place in places]


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
    written = str(text, "utf-8")
    if written[:1] == '"':
        return json.loads(written) if "\\" in written else written[1:-1]
    if written[:1] not in _NUMBER_STARTS or len(written) > _LONGEST_NUMBER:
        return None
    try:
        return _number(written)
    except InvalidOperation:  # its exponent has more than 18 digits
        return None


def _number(value: str | int) -> Number:
    if isinstance(value, int) and value.bit_length() < 64:
        return Number(str(value))
    number = Decimal(value).normalize(_EXACT)
    if number.adjusted() < 20 and number == number.to_integral_value():
        return Number(str(int(number)))
    return Number(str(number))


def _show(key: Key) -> str:
    text = json.dumps(key) if isinstance(key, str) else key.text
    return text if len(text) <= 80 else f"{text[:80]}…"
