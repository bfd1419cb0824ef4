"""``python -m backup_server``, the same as the command ``portfolio-backup``."""

from .cli import main

main()
