"""The exceptions, and the one function that turns any error into JSON.

The text of a BackupError is one sentence a person can act on, and is sent to the client as it
stands. Anything else that is raised is a defect: logged in full, answered in general.
"""

import json
import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

log = logging.getLogger("backup_server")


class BackupError(Exception):
    """Base of all errors whose text may be shown to a client."""

    status = 500


class InvalidBackup(BackupError):
    """The body, a parameter or a header's value is not what the contract asks for."""

    status = 400


class UnknownBackup(BackupError):
    """No backup has this id."""

    status = 404


class BodyStalled(BackupError):
    """The client stopped within the body."""

    status = 408


class UnusableBase(BackupError):
    """A change cannot be made to the backup it names; the client has to send the whole state."""

    status = 409

    def __init__(self, reason: str):
        super().__init__(f"{reason}; send the whole backup.")


class BodyTooLarge(BackupError):
    """The body is larger than allowed, measured after decompression."""

    status = 413


class UnsupportedBody(BackupError):
    """A Content-Type or Content-Encoding that is not understood."""

    status = 415


class DamagedBackup(BackupError):
    """The stored file is not what was once written."""


class Unavailable(BackupError):
    """The storage directory cannot be used for now."""

    status = 503


class NoRoom(BackupError):
    """The disk or the quota is full (RFC 4918, section 11.5)."""

    status = 507

    def __init__(self, reason: str):
        super().__init__(f"{reason.rstrip('.')}; delete old backups, or make room on the disk.")


def error_response(status: int, sentence: str) -> Response:
    """Build the one shape all errors have: ``{"error": sentence}``."""
    return Response(json.dumps({"error": sentence}), status, mimetype="application/json")


_SENTENCES = {
    404: "There is nothing at this address; the API is under /api.",
    500: "The server failed while answering; its log says why.",
}


def to_response(error: Exception) -> Response:
    """Turn any exception into the JSON answer for it, keeping an HTTP error's own headers."""
    if isinstance(error, BackupError):
        if error.status >= 500:
            log.error("%s", error)
        response = error_response(error.status, str(error))
        if error.status == 503:
            response.headers["Retry-After"] = "1"
        return response
    if isinstance(error, HTTPException) and error.code is not None:
        response = error_response(error.code, _SENTENCES.get(error.code) or str(error.description))
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
        return response
    log.error("unexpected error", exc_info=error)
    return error_response(500, _SENTENCES[500])


def register(app: Flask) -> None:
    """Let every error of the application be answered by :func:`to_response`."""
    app.register_error_handler(Exception, to_response)
