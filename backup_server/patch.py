"""What is different from a stored backup, and the whole backup that comes of it.

A change holds, by category, the records to ``put`` and the keys to ``delete``. What is untouched is
copied from the base's file while the result is written; only one changed category at a time is held
in memory. The places to copy from are read from that file, too, after its SHA-256 has been checked;
without one it is parsed whole. It is never mapped: a disk that fails under a mapping kills the
process (SIGBUS).
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec

from . import document, rawjson
from .document import CATEGORIES, Head, Origin, Part, Piece, Upload
from .errors import BodyTooLarge, DamagedBackup, InvalidBackup, UnusableBase
from .rawjson import Text

#: The member of a record that tells it from the others of its category.
KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
#: The most records of a category that are told apart in memory; more have to be uploaded whole.
MOST_RECORDS = 250_000

_CHUNK = 256 * 1024
_EXACT = 2**53
_LONGEST_NUMBER = 1000
_one_at_a_time = threading.Lock()
# Of each record only the text of its key, empty where it has none.
_decoders = {
    name: msgspec.json.Decoder(
        list[
            msgspec.defstruct(
                "Keyed", [("key", msgspec.Raw, msgspec.Raw())], rename={"key": name}, gc=False
            )
        ]
    )
    for name in set(KEYS.values())
}
_Counts = dict[Literal[CATEGORIES], Annotated[float, msgspec.Meta(ge=0)]]


class Number(NamedTuple):
    """A key that is a number, as text: 1, 1.0 and 1e0 are one key, 1 and "1" are two.

    Not as a number, whose hash everybody can compute: 20,000 keys that were chosen to have the same
    hash kept a processor busy for a minute.
    """

    text: str


Key = str | Number


class CategoryChange(NamedTuple):
    """What is to be done to one category: its new records as they were sent, and its old keys."""

    put: dict[Key, memoryview]
    delete: set[Key]


class Change(NamedTuple):
    """A checked change.

    ``others`` are the members that are neither categories nor of the head, each as its text with
    the name. ``counts`` is what the client expects of the result, by category.
    """

    categories: dict[str, CategoryChange]
    others: dict[str, bytes]
    counts: dict[str, int]
    origin: Origin


def read(text: Text) -> Change:
    """Check a change's body; raise InvalidBackup, which says what is wrong and where."""
    view, found = memoryview(text), rawjson.members(text)
    values = {name: view[member.value] for name, member in found.items()}
    in_others = [n for n in found if n not in (*KEYS, *document.HEAD_MEMBERS, "counts")]
    return Change(
        {name: _read_category(name, values[name]) for name in KEYS if name in values},
        {name: bytes(view[found[name].name]) + b":" + bytes(values[name]) for name in in_others},
        _read_counts(values.get("counts", b"{}")),
        document.read_origin(values),
    )


def apply(change: Change, file: BinaryIO, base: str, limit: int) -> Upload:
    """Return what a whole upload of the changed state would be.

    ``file`` is that of the base, whose id is ``base``; it has to stay open until the pieces of the
    result have been written. Raises UnusableBase if the base is damaged or the change does not fit
    it, and BodyTooLarge if the ``data`` of the result has more than ``limit`` bytes.
    """
    try:
        upload = _apply(change, _Base(file), base)
    except (DamagedBackup, InvalidBackup) as error:
        raise UnusableBase(f"The base is damaged: {str(error).rstrip('.')}") from error
    for name, count in change.counts.items():
        if upload.counts[name] != count:
            raise UnusableBase(
                f"With this change {name} has {upload.counts[name]} items, not {count}"
            )
    if sum(part.size for part in (*upload.categories.values(), upload.others)) > limit:
        raise BodyTooLarge(
            f"The backup with this change is larger than {limit} bytes, the limit of "
            "MAX_BODY_BYTES."
        )
    return upload


class _Base:
    """The file of a base, read piece by piece."""

    def __init__(self, file: BinaryIO):
        self._descriptor = file.fileno()
        self.size, self._modified = self._stamp()

    def read(self, place: slice) -> Iterator[bytes]:
        """Yield what lies at a place; raise UnusableBase if it cannot be read."""
        position = place.start
        while position < place.stop:
            try:
                chunk = os.pread(self._descriptor, min(_CHUNK, place.stop - position), position)
            except OSError as error:
                raise _unreadable(error) from error
            if not chunk:
                raise UnusableBase("The base is damaged: it has lost its end")
            yield chunk
            position += len(chunk)

    def read_all(self, place: slice) -> bytes:
        return b"".join(self.read(place))

    def read_whole(self) -> bytes:
        """Read a file that has no head."""
        try:
            return document.read_whole(self._descriptor, self.size)
        except OSError as error:
            raise _unreadable(error) from error

    def check_unchanged(self) -> None:
        """Raise UnusableBase if the file has been written to since it was opened."""
        if self._stamp() != (self.size, self._modified):
            raise UnusableBase("The base was edited while it was read")

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


def _unreadable(error: OSError) -> UnusableBase:
    return UnusableBase(f"The base cannot be read: {error.strerror}")


class _Pieces(NamedTuple):
    """Bytes of a result, and places in the base's file from which to copy others."""

    base: _Base
    pieces: list[Piece | slice]

    def __iter__(self) -> Iterator[Piece]:
        for piece in self.pieces:
            yield from self.base.read(piece) if isinstance(piece, slice) else [piece]
        self.base.check_unchanged()


def _part(base: _Base, pieces: list[Piece | slice]) -> Part:
    sizes = (p.stop - p.start if isinstance(p, slice) else len(p) for p in pieces)
    return Part(sum(sizes), _Pieces(base, pieces))


def _joined(records: list[Piece | slice]) -> list[Piece | slice]:
    """Return the pieces of an array of these records: what lies together in the base as one."""
    pieces: list[Piece | slice] = [b"["]
    for record in records:
        last = pieces[-1]
        if isinstance(record, slice) and isinstance(last, slice) and record.start == last.stop + 1:
            pieces[-1] = slice(last.start, record.stop)
        else:
            pieces += [record] if len(pieces) == 1 else [b",", record]
    return [*pieces, b"]"]


def _apply(change: Change, base: _Base, base_id: str) -> Upload:
    head, places = _locate(base, by_name=bool(change.others))
    categories, counts = {}, dict(head.counts)
    for name in CATEGORIES:
        pieces: list[Piece | slice] = [places.pop(name)] if name in places else [b"[]"]
        if name in change.categories:
            if counts[name] > MOST_RECORDS:
                raise _too_many(name)
            with _one_at_a_time:
                records = _splice(name, base, pieces[0], change.categories[name])
            pieces, counts[name] = _joined(records), len(records)
        categories[name] = _part(base, pieces)
    others: list[Piece | slice] = []
    for member in (places | change.others).values():
        others += [b",", member]
    device_id, device = change.origin.device_id, change.origin.device
    origin = change.origin._replace(
        device_id=device_id or head.device_id, device=device or head.device
    )
    return Upload(categories, _part(base, others), counts, origin, base_id)


def _locate(base: _Base, by_name: bool) -> tuple[Head, dict[str | None, slice]]:
    """Check a base; return its head, and where its categories and its other members lie.

    The others lie with their names; unless they are wanted by name, they are one place, None.
    """
    start = base.read_all(slice(0, min(document.HEAD_BYTES, base.size)))
    if not document.has_head(start):
        return _locate_in_whole(base)
    document.check_digest(base.read(slice(0, base.size)))
    head, places = document.read_head(start, base.size), {}
    position = head.data_start
    for name in CATEGORIES:
        introduction, (at, length) = document.introduction(name), head.part(name)
        if base.read_all(slice(position, position + len(introduction))) != introduction:
            return _locate_in_whole(base)  # its name is written with an escape
        if at != position + len(introduction):
            raise DamagedBackup(f"Its head gives {name} another place than it has.")
        position = at + length
        places[name] = slice(at, position)
    end = head.data_start + head.layout.data[1] - 1
    if position < end and by_name:
        text = b"{" + base.read_all(slice(position, end))[1:] + b"}"
        places |= _places(text, position)
    elif position < end:
        places[None] = slice(position + 1, end)
    return head, places


def _locate_in_whole(base: _Base) -> tuple[Head, dict[str | None, slice]]:
    with _one_at_a_time:
        text = base.read_whole()
        document.check_digest([text])
        head = document.read_head(text, base.size)
        end = head.data_start + head.layout.data[1]
        places = _places(memoryview(text)[head.data_start : end], head.data_start)
    for name in CATEGORIES:
        at, length = head.part(name)
        if length and text[at : at + 1] != b"[":
            raise DamagedBackup(f"Its {name} are no array.")
    return head, places


def _places(text: Text, start: int) -> dict[str, slice]:
    """Return where the members of an object at this place lie, but for categories with the name."""
    return {
        name: slice(
            start + (member.value if name in CATEGORIES else member.name).start,
            start + member.value.stop,
        )
        for name, member in rawjson.members(text).items()
    }


def _splice(name: str, base: _Base, place: slice | bytes, change: CategoryChange) -> list:
    """Return the records of a category with the change made to it: new ones, or their places."""
    array, start = (base.read_all(place), place.start) if isinstance(place, slice) else (place, 0)
    places = rawjson.items(array)
    keys = _keys_of(array, places, KEYS[name])
    _check_keys(name, keys, change.delete)
    put = dict(change.put)
    records: list[memoryview | slice] = []
    for key, place in zip(keys, places, strict=True):
        if key in put:
            records.append(put.pop(key))
        elif key not in change.delete:
            records.append(slice(start + place.start, start + place.stop))
    return [*records, *put.values()]


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


def _read_category(name: str, value: memoryview) -> CategoryChange:
    lists = _read_lists(name, value)
    places = rawjson.items(lists["put"])
    put: dict[Key, memoryview] = {}
    for key, place in zip(_keys_of(lists["put"], places, KEYS[name]), places, strict=True):
        if key is None:
            raise InvalidBackup(f"A record in {name}.put has no {KEYS[name]} to be its key.")
        if key in put:
            raise InvalidBackup(f"The member {name}.put has two records of one key: {_show(key)}.")
        put[key] = lists["put"][place]
    delete = {_read_key(lists["delete"][place]) for place in rawjson.items(lists["delete"])}
    if None in delete:
        raise InvalidBackup(f"The member {name}.delete must hold keys: strings or numbers.")
    if both := delete & put.keys():
        raise InvalidBackup(f"The member {name} both puts and deletes {_show(both.pop())}.")
    return CategoryChange(put, delete)


def _read_lists(name: str, value: memoryview) -> dict[str, memoryview]:
    found = rawjson.members(value) if value[:1] == b"{" else {}
    if not found or not found.keys() <= {"put", "delete"}:
        raise InvalidBackup(f"The member {name} must be an object with put, delete or both.")
    lists = {"put": memoryview(b"[]"), "delete": memoryview(b"[]")}
    for part, member in found.items():
        lists[part] = value[member.value]
        try:
            if rawjson.count(lists[part], MOST_RECORDS) is None:
                raise InvalidBackup(f"The member {name}.{part} must be an array.")
        except rawjson.TooManyItems:
            raise _too_many(name) from None
    return lists


def _too_many(name: str) -> UnusableBase:
    return UnusableBase(f"More than {MOST_RECORDS} records in {name} cannot be told apart")


def _read_counts(value: memoryview) -> dict[str, int]:
    wrong = InvalidBackup("The member counts must hold the number of items by category.")
    try:
        counts = msgspec.json.decode(value, type=_Counts)
    except msgspec.MsgspecError as error:
        raise wrong from error
    if not all(count.is_integer() for count in counts.values()):  # 2.0 is one in JSON
        raise wrong
    return {name: int(count) for name, count in counts.items()}


def _keys_of(array: Text, places: list[slice], field: str) -> list[Key | None]:
    """Return the keys of an array's records; None for what is no object or has none."""
    try:
        texts = [memoryview(record.key) for record in _decoders[field].decode(array)]
    except msgspec.DecodeError:  # they are not all objects, or half a surrogate pair is in them
        texts = [_text_of_key(memoryview(array)[place], field) for place in places]
    return [_read_key(text) for text in texts]


def _text_of_key(record: memoryview, field: str) -> memoryview:
    found = rawjson.members(record) if record[:1] == b"{" else {}
    return record[found[field].value] if field in found else record[:0]


def _read_key(text: memoryview) -> Key | None:
    """Read a JSON text that is a key; None if it is neither a string nor a number."""
    written = str(text, "utf-8")
    if written[:1] == '"':
        return json.loads(written) if "\\" in written else written[1:-1]
    if not written or written[0] not in "-0123456789":
        return None
    number = json.loads(written) if len(written) <= _LONGEST_NUMBER else float("inf")
    if abs(number) > _EXACT:
        return Number(written)
    return Number(str(int(number)) if number == int(number) else repr(number))


def _show(key: Key) -> str:
    text = json.dumps(key) if isinstance(key, str) else key.text
    return text if len(text) <= 80 else f"{text[:80]}…"
