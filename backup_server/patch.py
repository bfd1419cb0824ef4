"""What is different from a stored backup, and the whole backup that comes of it.

What is untouched is copied from the base's file while the result is written. One changed category
at a time is held in memory. The base is never mapped: a disk that fails under a mapping kills the
process (SIGBUS). Keys are compared as Python compares what ``json.loads`` makes of them, but for
booleans, which are none, and numbers from 2^53 on, which are one key if they are written alike.
"""

import json
import os
import threading
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec

from . import document, rawjson
from .document import Head
from .errors import BodyTooLarge, DamagedBackup, InvalidBackup, UnusableBase
from .rawjson import Text
from .upload import CATEGORIES, ORIGIN_MEMBERS, Excerpt, Origin, Piece, Upload, read_origin

#: The member of a record that tells it from the others of its category.
KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
#: The most records of a category whose keys are held in memory; more have to be uploaded whole.
MOST_RECORDS = 250_000
#: New records of a category by key as they were sent; None deletes one.
Edits = dict[str, memoryview | None]

# Of a record only the texts of what may be its key, empty where it has none.
_Keyed = msgspec.defstruct("_Keyed", [(k, msgspec.Raw, msgspec.Raw()) for k in set(KEYS.values())])
_record_decoder = msgspec.json.Decoder(_Keyed)
_counts_decoder = msgspec.json.Decoder(
    dict[Literal[CATEGORIES], Annotated[float, msgspec.Meta(ge=0, multiple_of=1)]]  # 2.0 is 2
)
# Held while much of a base is in memory: a category, or a file without a SHA-256.
_one_at_a_time = threading.Lock()


class Change(NamedTuple):
    """A checked change; ``others`` has the text of each other member by name."""

    categories: dict[str, Edits]
    others: dict[str, bytes]
    counts: dict[str, float]
    origin: Origin


def read(text: Text) -> Change:
    """Check a change's body; raise InvalidBackup, which says what is wrong and where."""
    found = rawjson.members(text)
    try:
        counts = _counts_decoder.decode(found["counts"].value if "counts" in found else b"{}")
    except msgspec.MsgspecError as error:
        raise InvalidBackup("The member counts must hold numbers of items by category.") from error
    known = (*CATEGORIES, *ORIGIN_MEMBERS, "counts")
    return Change(
        {name: _read_edits(name, found[name].value) for name in CATEGORIES if name in found},
        {name: bytes(member.text) for name, member in found.items() if name not in known},
        counts,
        read_origin(found),
    )


def apply(change: Change, file: BinaryIO, base: str, limit: int) -> Upload:
    """Return what a whole upload of the changed state would be.

    ``file`` is that of the base, and has to stay open until the result has been written. Raises
    UnusableBase, and BodyTooLarge if the ``data`` of the result has more than ``limit`` bytes.
    """
    try:
        with _one_at_a_time:
            head = document.read(file)
        document.check(file, head)
        upload = _apply(change, file, head)._replace(base=base)
    except OSError as error:
        raise UnusableBase(f"The base cannot be read: {error.strerror}") from error
    except (DamagedBackup, InvalidBackup) as error:
        raise UnusableBase(f"The base is damaged: {str(error).rstrip('.')}") from error
    for name, count in change.counts.items():
        if upload.counts[name] != count:
            raise UnusableBase(f"{name} would have {upload.counts[name]} items, not {count:.0f}")
    if sum(map(len, upload.data()[0])) > limit:
        raise BodyTooLarge(f"The changed backup is over {limit} bytes (MAX_BODY_BYTES).")
    return upload


def _apply(change: Change, file: BinaryIO, head: Head) -> Upload:
    if head.others is None:
        raise UnusableBase("The categories of the base lie in another order")
    categories, counts = {}, dict(head.counts)
    for name in CATEGORIES:
        start, length = head.part(name)
        array = Excerpt(file, start, start + length)
        if length and os.pread(file.fileno(), 1, start) != b"[":
            raise DamagedBackup(f"{name} is no array")
        categories[name] = [array] if length else [b"[]"]
        if name in change.categories:
            if counts[name] > MOST_RECORDS:
                raise UnusableBase(f"More than {MOST_RECORDS} records in {name} cannot be changed")
            with _one_at_a_time:
                records = _edit(name, array, change.categories[name])
            categories[name], counts[name] = _join(records), len(records)
    others = [Excerpt(file, *place) for place in head.others]
    if change.others:
        text = b"{%s}" % b",".join(b"".join(other) for other in others)
        old = {name: member.text for name, member in rawjson.members(text).items()}
        others = (old | change.others).values()
    with_commas = [piece for other in others for piece in (b",", other)]
    timestamp, device_id, device = change.origin
    origin = timestamp, device_id or head.device_id, device or head.device
    return Upload(categories, with_commas, counts, origin)


def _edit(name: str, base: Excerpt, edits: Edits) -> list[Piece]:
    """Return the records of a category after edits."""
    array = os.pread(base.file.fileno(), len(base), base.start) or b"[]"
    old = {
        key: Excerpt(base.file, base.start + place.start, base.start + place.stop)
        for key, place in _by_key(name, array, KEYS[name]).items()
    }
    if missing := {key for key, record in edits.items() if record is None} - old.keys():
        raise UnusableBase(f"{name} has no record to delete with key {missing.pop():.80}")
    return [record for record in (old | edits).values() if record is not None]


def _join(records: list[Piece]) -> list[Piece]:
    """Return the pieces of an array of these records: what lies together in the base as one."""
    pieces: list[Piece] = [b""]
    for record in records:
        last = pieces[-1]
        both = isinstance(record, Excerpt) and isinstance(last, Excerpt)
        if both and record.start == last.stop + len(b","):
            pieces[-1] = Excerpt(last.file, last.start, record.stop)
        else:
            pieces += [b",", record]
    return [b"[", *pieces[2:], b"]"]


def _read_edits(name: str, value: memoryview) -> Edits:
    found = rawjson.members(value) if value[:1] == b"{" else {}
    if not found or not found.keys() <= {"put", "delete"}:
        raise InvalidBackup(f"The member {name} must be an object with put, delete or both.")
    for part, member in found.items():
        rawjson.count(f"{name}.{part}", member.value, MOST_RECORDS)
    put, delete = (found[p].value if p in found else memoryview(b"[]") for p in ("put", "delete"))
    edits = {key: put[place] for key, place in _by_key(f"{name}.put", put, KEYS[name]).items()}
    keys = {_read_key(delete[place]) for place in rawjson.items(delete)}
    if None in keys:
        raise InvalidBackup(f"The member {name}.delete must hold keys: strings or numbers.")
    if both := keys & edits.keys():
        raise InvalidBackup(f"The member {name} both puts and deletes {both.pop():.80}.")
    return edits | dict.fromkeys(keys)


def _by_key(name: str, array: Text, field: str) -> dict[str, slice]:
    """Return where an array's records lie; raise InvalidBackup unless each has its own key."""
    found, view = {}, memoryview(array)
    for place in rawjson.items(array):
        try:
            text = memoryview(getattr(_record_decoder.decode(view[place]), field))
        except (msgspec.DecodeError, RecursionError):  # no object, half a surrogate pair, too deep
            record = rawjson.members(view[place]) if view[place.start] == ord("{") else {}
            text = record[field].value if field in record else memoryview(b"")
        key = _read_key(text)
        if key is None:
            raise InvalidBackup(f"A record in {name} has no {field} to be its key.")
        if key in found:
            raise InvalidBackup(f"Two records in {name} have one key: {key:.80}.")
        found[key] = place
    return found


def _read_key(text: memoryview) -> str | None:
    """Read a key, as text: numbers can be chosen to have one hash; None for what is no key."""
    written = str(text, "utf-8")
    if written[:1] == '"':
        return f'"{json.loads(written)}"' if "\\" in written else written
    if not written or written[0] not in "-0123456789":
        return None
    number = float(written)
    # From 2^53 on doubles cannot tell integers apart. Minus zero is zero.
    return f"{number + 0.0:.17g}" if abs(number) < 2**53 else written
