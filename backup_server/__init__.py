"""The cloud backup of an offline-first portfolio: every backup kept for good, as a JSON file."""

import logging
import sys

from flask import Flask

from . import access, connection, errors
from .routes import blueprint
from .settings import Settings, SettingsError
from .storage import Storage

__all__ = ["create_app"]
__version__ = "1.0.0"


def create_app(settings: Settings | None = None) -> Flask:
    """Build the WSGI application, from the environment unless it is given settings.

    Makes the storage directory if it is missing. Raises SettingsError, whose text is one line,
    for a wrong setting.
    """
    settings = settings or Settings.from_environ()
    _log_to_stdout()
    storage = Storage(settings.data_dir)
    try:
        storage.prepare()
    except OSError as error:
        allowed = f"{error.strerror}; give a directory that can be made and read"
        raise SettingsError("DATA_DIR", f"is '{settings.data_dir}'", allowed) from error
    app = Flask(__name__, static_folder=None)
    app.config["MAX_BODY_BYTES"] = settings.max_body_bytes
    app.extensions["backup_storage"] = storage
    app.url_map.merge_slashes = False  # it would redirect, with a page of HTML
    connection.register(app)
    access.register(app, settings)
    errors.register(app)
    app.register_blueprint(blueprint)
    return app


def _log_to_stdout() -> None:
    log = logging.getLogger("backup_server")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
