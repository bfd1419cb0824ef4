"""``python -m backup_server``: gunicorn with the shipped settings, or a command."""

import sys

from .settings import Settings, SettingsError


def main() -> None:
    """Serve, or run the command that is named; exit with one line if a setting is wrong."""
    try:
        Settings.from_environ()
        if len(sys.argv) > 1:
            _run_command()
        else:
            _serve()
    except SettingsError as error:
        sys.exit(str(error))


def _serve() -> None:
    from gunicorn.app.wsgiapp import WSGIApplication

    sys.argv[1:] = ["-c", "python:backup_server.gunicorn_conf", "backup_server:create_app()"]
    WSGIApplication(prog="python -m backup_server").run()


def _run_command() -> None:
    from .cli import commands

    commands(prog_name="python -m backup_server")


if __name__ == "__main__":
    main()
