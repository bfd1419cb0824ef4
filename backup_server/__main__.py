"""``python -m backup_server``, the same as the command ``portfolio-backup``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
