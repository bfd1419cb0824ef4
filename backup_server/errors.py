"""The exceptions, and the one function that turns any error into JSON.

The text of a BackupError or of werkzeug's HTTPException is one sentence a person can act on, and is
sent as it stands. An OSError is the disk's, never a connection's. Anything else that is raised is a
defect: logged in full, answered in general.
"""

import json
from errno import EDQUOT, EFBIG, ENOSPC

from flask import Response, current_app
from werkzeug.exceptions import HTTPException


class BackupError(Exception):
    """Base of all errors whose text may be shown to a client."""

    status: int

    def __init_subclass__(cls, status: int):
        cls.status = status


class InvalidBackup(BackupError, status=400):
    """The body, a parameter or a header's value is not what the contract asks for."""


class UnknownBackup(BackupError, status=404):
    """No backup has this id."""


class UnusableBase(BackupError, status=409):
    """A change cannot be made to the backup it names; the client has to send the whole state."""

    def __init__(self, reason: str):
        super().__init__(f"{reason}; send the whole backup.")


class BodyTooLarge(BackupError, status=413):
    """The body is larger than allowed, measured after decompression."""


class DamagedBackup(BackupError, status=500):
    """The stored file is not what was once written."""


class Unavailable(BackupError, status=503):
    """The storage directory cannot be used for now."""


class NoRoom(BackupError, status=507):
    """The disk or the quota is full (RFC 4918, section 11.5)."""

    def __init__(self, reason: str):
        super().__init__(f"{reason.rstrip('.')}; delete old backups, or make room on the disk.")


def as_backup_error(error: Exception) -> Exception:
    """Return NoRoom or Unavailable for an OSError, and any other error as it is."""
    if not isinstance(error, OSError):
        return error
    is_named = isinstance(error.filename, str) and error.filename != "."
    place = f"{error.filename}: " if is_named else ""
    kind = NoRoom if error.errno in (ENOSPC, EDQUOT, EFBIG) else Unavailable
    return kind(f"The storage failed: {place}{error.strerror or error}.")


def error_response(status: int, sentence: str) -> Response:
    """Build the one shape all errors have: ``{"error": sentence}``."""
    return Response(json.dumps({"error": sentence}), status, mimetype="application/json")


def to_response(error: Exception) -> Response:
    """Turn any exception into the JSON answer for it, keeping an HTTP error's own headers."""
    error = as_backup_error(error)
    if isinstance(error, BackupError):
        if error.status >= 500:
            current_app.logger.error("%s", error)
        response = error_response(error.status, str(error))
        if error.status == 503:
            response.headers["Retry-After"] = "1"
    elif isinstance(error, HTTPException):
        sentence = error.description
        if error.code == 404:
            sentence = "There is nothing at this address; the API is under /api."
        response = error.get_response()
        response.data, response.mimetype = json.dumps({"error": sentence}), "application/json"
    else:
        current_app.logger.error("unexpected error", exc_info=error)
        response = error_response(500, "The server failed while answering; its log says why.")
    return response
