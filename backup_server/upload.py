"""What an upload must be: one JSON object with five arrays, a time, and whatever else there is."""

from typing import NamedTuple

from . import members
from .errors import InvalidBackup
from .members import Member, Text

CATEGORIES = ("atoms", "compositions", "snapshots", "voiceNotes", "configOverrides")
#: The longest ``clientTimestamp`` as JSON text, quotes included.
CLIENT_TIMESTAMP_BYTES = 1024


class Upload(NamedTuple):
    """A checked upload, whose members still lie in ``text``; ``counts`` is by category.

    ``base`` is the id of the backup that a change has made it from, if one has.
    """

    text: memoryview
    members: dict[str, Member]
    counts: dict[str, int]
    base: str | None = None

    @property
    def client_timestamp(self) -> bytes | None:
        """The client's own time as JSON text, quotes and escapes as they were sent."""
        member = self.members.get("clientTimestamp")
        return bytes(self.text[member.value]) if member else None


def check_upload(text: Text, base: str | None = None) -> Upload:
    """Check an upload's body; raise InvalidBackup, which says what is wrong and where."""
    found, counts = members.split(text, CATEGORIES)
    for name, count in counts.items():
        if count is None:
            raise InvalidBackup(f"The member {name} must be an array.")
    upload = Upload(memoryview(text), found, counts, base)
    if (timestamp := upload.client_timestamp) is not None:
        check_client_timestamp(timestamp)
    return upload


def check_client_timestamp(text: bytes) -> None:
    """Check the member clientTimestamp, which is JSON text; raise InvalidBackup."""
    if text[:1] != b'"':
        raise InvalidBackup("The member clientTimestamp must be a string.")
    if len(text) > CLIENT_TIMESTAMP_BYTES:
        raise InvalidBackup(
            f"The member clientTimestamp is longer than {CLIENT_TIMESTAMP_BYTES} bytes."
        )
