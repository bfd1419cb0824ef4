"""What tells the records of a category from each other.

Keys are compared as Python compares what ``json.loads`` makes of them, but for booleans, which are
no keys, and for numbers beyond 2^53, which doubles could not tell apart: those are one if they are
written alike.
"""

import json
import math

import msgspec

from . import rawjson
from .rawjson import Text
from .upload import CATEGORIES

#: The member of a record that tells it from the others of its category.
KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))
_EXACT = 2**53
# Python reads integers of up to 4,300 digits.
_LONGEST_NUMBER = 1000
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


#: A string as its characters after a quotation mark, a number as text: 1, 1.0 and 1e0 are one key,
#: 1 and "1" are two. Never as a number, whose hash everybody can compute: 20,000 keys that were
#: chosen to have the same hash kept a processor busy for a minute.
Key = str


def keys_of(array: Text, places: list[slice], field: str) -> list[Key | None]:
    """Return the keys of an array's records; None for what is no object or has none."""
    try:
        texts = [memoryview(record.key) for record in _decoders[field].decode(array)]
    except (msgspec.DecodeError, RecursionError):  # no object, half a surrogate pair, too deep
        texts = [_text_of_key(memoryview(array)[place], field) for place in places]
    return [read_key(text) for text in texts]


def _text_of_key(record: memoryview, field: str) -> memoryview:
    found = rawjson.members(record) if record[:1] == b"{" else {}
    return record[found[field].value] if field in found else record[:0]


def read_key(text: memoryview) -> Key | None:
    """Read a JSON text that is a key; None if it is neither a string nor a number."""
    written = str(text, "utf-8")
    if written[:1] == '"':
        return '"' + json.loads(written)
    if not written or written[0] not in "-0123456789":
        return None
    number = json.loads(written) if len(written) <= _LONGEST_NUMBER else math.inf
    if abs(number) > _EXACT:
        return written
    return str(int(number)) if number == int(number) else repr(number)


def show(key: Key) -> str:
    """Return a key as an error shows it."""
    text = json.dumps(key[1:]) if key[0] == '"' else key
    return text if len(text) <= 80 else f"{text[:80]}…"
