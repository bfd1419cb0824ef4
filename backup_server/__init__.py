"""The cloud backup of an offline-first portfolio: every backup kept for good, as a JSON file."""

import logging
import sys

from flask import Flask

from . import access, connection, errors
from .routes import blueprint
from .settings import Settings, SettingsError
from .storage import Storage

__version__ = "1.0.0"


def create_app(settings: Settings | None = None) -> Flask:
    """Build the WSGI application, from the environment unless it is given settings.

    Makes the storage directory if it is missing. Raises SettingsError for a wrong setting.
    """
    settings = settings or Settings.from_environ()
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        storage = Storage(settings.data_dir)
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
    app.register_error_handler(Exception, errors.to_response)
    app.register_blueprint(blueprint)
    return app
