"""What is different from a stored backup, and the whole backup that comes of it.

A change holds, by category, the records to ``put`` and the keys to ``delete``. What is untouched is
copied from the base's file while the result is written, and is not parsed again. One changed
category at a time is held in memory.
"""

from collections import Counter
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec

from . import rawjson
from .base import Base, one_at_a_time
from .errors import BodyTooLarge, DamagedBackup, InvalidBackup, UnusableBase
from .rawjson import Text
from .record_keys import KEYS, Key, keys_of, read_key, show
from .upload import CATEGORIES, ORIGIN_MEMBERS, Origin, Piece, Upload, read_origin

#: The most records of a category that are told apart in memory; more have to be uploaded whole.
MOST_RECORDS = 250_000

_Counts = dict[Literal[CATEGORIES], Annotated[float, msgspec.Meta(ge=0)]]


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
    in_others = [n for n in found if n not in (*KEYS, *ORIGIN_MEMBERS, "counts")]
    return Change(
        {name: _read_category(name, values[name]) for name in KEYS if name in values},
        {name: bytes(view[found[name].name]) + b":" + bytes(values[name]) for name in in_others},
        _read_counts(values.get("counts", b"{}")),
        read_origin(values),
    )


def apply(change: Change, file: BinaryIO, base: str, limit: int) -> Upload:
    """Return what a whole upload of the changed state would be.

    ``file`` is that of the base, whose id is ``base``; it has to stay open until the pieces of the
    result have been written. Raises UnusableBase if the base is damaged or the change does not fit
    it, and BodyTooLarge if the ``data`` of the result has more than ``limit`` bytes.
    """
    try:
        upload = _apply(change, Base(file), base)
    except (DamagedBackup, InvalidBackup, msgspec.DecodeError) as error:
        raise UnusableBase(f"The base is damaged: {str(error).rstrip('.')}") from error
    for name, count in change.counts.items():
        if upload.counts[name] != count:
            raise UnusableBase(
                f"With this change {name} has {upload.counts[name]} items, not {count}"
            )
    if sum(upload.layout()["data"]) > limit:
        raise BodyTooLarge(
            f"The backup with this change is larger than {limit} bytes, the limit of "
            "MAX_BODY_BYTES."
        )
    return upload


def _apply(change: Change, base: Base, base_id: str) -> Upload:
    head, categories, counts = base.head, {}, dict(base.head.counts)
    for name in CATEGORIES:
        place = base.categories.get(name)
        pieces: list[Piece | slice] = [place or b"[]"]
        if name in change.categories:
            if counts[name] > MOST_RECORDS:
                raise UnusableBase(f"More than {MOST_RECORDS} records in {name} cannot be changed")
            with one_at_a_time:
                records = _splice(name, base, place, change.categories[name])
            pieces, counts[name] = _joined(records), len(records)
        categories[name] = base.part(pieces)
    others: list[Piece | slice] = [*base.others]
    if change.others:
        others = [*(base.others_by_name() | change.others).values()]
        if len(others) + len(CATEGORIES) > rawjson.MOST_MEMBERS:
            raise UnusableBase("With this change there are too many members")
    with_commas = [piece for other in others for piece in (b",", other)]
    origin = change.origin._replace(
        device_id=change.origin.device_id or head.device_id,
        device=change.origin.device or head.device,
    )
    return Upload(categories, base.part(with_commas), counts, origin, base_id)


def _splice(
    name: str, base: Base, place: slice | None, change: CategoryChange
) -> list[memoryview | slice]:
    """Return the records of a category with the change made to it: new ones, or their places."""
    array, start = (base.read(place), place.start) if place else (b"[]", 0)
    items = rawjson.items(array)
    keys = keys_of(array, items, KEYS[name])
    _check_keys(name, keys, change.delete)
    put = dict(change.put)
    records: list[memoryview | slice] = []
    for key, item in zip(keys, items, strict=True):
        if key in put:
            records.append(put.pop(key))
        elif key not in change.delete:
            records.append(slice(start + item.start, start + item.stop))
    return [*records, *put.values()]


def _check_keys(name: str, keys: list[Key | None], delete: set[Key]) -> None:
    if None in keys:
        raise UnusableBase(f"A record in {name} has no {KEYS[name]} to be its key")
    known = set(keys)
    if len(known) < len(keys):
        ((twice, _),) = Counter(keys).most_common(1)
        raise UnusableBase(f"Two records in {name} have one key: {show(twice)}")
    if missing := delete - known:
        key = show(next(iter(missing)))
        raise UnusableBase(f"There is nothing in {name} to delete with key {key}")


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


def _read_category(name: str, value: memoryview) -> CategoryChange:
    lists = _read_lists(name, value)
    places = rawjson.items(lists["put"])
    put: dict[Key, memoryview] = {}
    for key, place in zip(keys_of(lists["put"], places, KEYS[name]), places, strict=True):
        if key is None:
            raise InvalidBackup(f"A record in {name}.put has no {KEYS[name]} to be its key.")
        if key in put:
            raise InvalidBackup(f"The member {name}.put has two records of one key: {show(key)}.")
        put[key] = lists["put"][place]
    delete = {read_key(lists["delete"][place]) for place in rawjson.items(lists["delete"])}
    if None in delete:
        raise InvalidBackup(f"The member {name}.delete must hold keys: strings or numbers.")
    if both := delete & put.keys():
        raise InvalidBackup(f"The member {name} both puts and deletes {show(both.pop())}.")
    return CategoryChange(put, delete)


def _read_lists(name: str, value: memoryview) -> dict[str, memoryview]:
    found = rawjson.members(value) if value[:1] == b"{" else {}
    if not found or not found.keys() <= {"put", "delete"}:
        raise InvalidBackup(f"The member {name} must be an object with put, delete or both.")
    lists = {"put": memoryview(b"[]"), "delete": memoryview(b"[]")}
    for part, member in found.items():
        lists[part] = value[member.value]
        rawjson.count(f"{name}.{part}", lists[part], MOST_RECORDS)
    return lists


def _read_counts(value: memoryview) -> dict[str, int]:
    wrong = InvalidBackup("The member counts must hold the number of items by category.")
    try:
        counts = msgspec.json.decode(value, type=_Counts)
    except msgspec.MsgspecError as error:
        raise wrong from error
    if not all(count.is_integer() for count in counts.values()):  # 2.0 is one in JSON
        raise wrong
    return {name: int(count) for name, count in counts.items()}
