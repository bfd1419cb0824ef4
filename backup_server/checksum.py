"""The SHA-256 in a stored document: of the whole file without its own 64 digits."""

import hashlib
import re
from collections.abc import Iterable

from . import rawjson
from .document import DIGITS, head_text
from .errors import DamagedBackup, InvalidBackup
from .rawjson import Text
from .upload import Piece

_SHA256 = re.compile(rb'"[0-9a-f]{64}"')


class Digest:
    """The SHA-256 of a document without its own digits, which the first piece holds."""

    def __init__(self, digits_at: int):
        self._skipped: slice | None = slice(digits_at, digits_at + DIGITS)
        self._hash = hashlib.sha256()

    def update(self, piece: Piece) -> None:
        """Go on with what follows."""
        if self._skipped:
            self._hash.update(piece[: self._skipped.start])
            piece, self._skipped = memoryview(piece)[self._skipped.stop :], None
        self._hash.update(piece)

    def digits(self) -> bytes:
        """Return the digits."""
        return self._hash.hexdigest().encode()


def check(pieces: Iterable[Piece]) -> bool:
    """Compare a stored document with its SHA-256; return whether it has one.

    The first piece is as much of it as :func:`.document.read_head` needs. Raises DamagedBackup.
    """
    pieces = iter(pieces)
    first = next(pieces, b"")
    place = _digits_at(first)
    if place is None:
        return False
    digest = Digest(place)
    digest.update(first)
    for piece in pieces:
        digest.update(piece)
    if digest.digits() != first[place : place + DIGITS]:
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
