#!/bin/sh
# Checks the settings of the templates, adds those that follow from them, and runs the command that it
# is given. A wrong one ends it with one line: the variable, its value and what is allowed.
set -eu

wrong() {
  echo "$1 is '$2': $3" >&2
  exit 1
}

case $MAX_BODY_BYTES in
'' | *[!0-9]*) wrong MAX_BODY_BYTES "$MAX_BODY_BYTES" "give a number of bytes, 1 or more" ;;
esac
# A stored document is its upload and a head of 4 KiB at most.
export MAX_DOCUMENT_BYTES=$((MAX_BODY_BYTES + 1048576))

case $BACKUPS_PATH in
'' | off) export BACKUPS_PATH='' BACKUPS_CONF=/dev/null ;;
/ | /api | /api/* | *//* | */.* | *[!A-Za-z0-9/._-]* | [!/]*)
  wrong BACKUPS_PATH "$BACKUPS_PATH" "give a path such as /backups, outside /api, or off for no page"
  ;;
*) export BACKUPS_PATH="${BACKUPS_PATH%/}" BACKUPS_CONF=backups.conf ;;
esac

exec "$@"
