"""The SHA-256 in a stored document: of the whole file without its own 64 digits."""

import hashlib
import re
from collections.abc import Iterable
from itertools import chain

from . import rawjson
from .document import DIGITS, head_text
from .errors import DamagedBackup, InvalidBackup
from .rawjson import Text
from .upload import Piece

_SHA256 = re.compile(rb'"[0-9a-f]{64}"')


def digits(pieces: Iterable[Piece], digits_at: int) -> bytes:
    """Return the digits for a document whose first piece has them, or room for them, there."""
    pieces = iter(pieces)
    first = memoryview(next(pieces))
    digest = hashlib.sha256(first[:digits_at])
    digest.update(first[digits_at + DIGITS :])
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode()


def check(pieces: Iterable[Piece]) -> bool:
    """Compare a stored document with its SHA-256; return whether it has one.

    The first piece is as much of it as :func:`.document.read_head` needs. Raises DamagedBackup.
    """
    pieces = iter(pieces)
    first = next(pieces, b"")
    place = _digits_at(first)
    if place is None:
        return False
    if digits(chain([first], pieces), place) != first[place : place + DIGITS]:
        raise DamagedBackup("Its bytes do not match its SHA-256.")
    return True


def _digits_at(text: Text) -> int | None:
    """Return where the digits are, or None for a file in another form that has none."""
    own = head_text(text)
    try:
        outer = rawjson.members(own or text)
    except InvalidBackup as error:
        raise DamagedBackup(f"It cannot be read: {error}") from error
    place = outer["sha256"].value if "sha256" in outer else None
    if place and (own or "data" not in outer or place.start < outer["data"].value.start):
        if _SHA256.fullmatch(memoryview(text)[place]):
            return place.start + 1
        raise DamagedBackup("Its SHA-256 does not have 64 digits.")
    if own:
        raise DamagedBackup("Its SHA-256 is missing.")
    return None
