"""The storage directory: every write, delete and open of a backup's file.

On disk, in the directory itself:

- ``backup-<id>.json``: one stored document each, never changed once it has this name;
- ``.upload-<random>.tmp``: an upload on its way, locked by its owner (flock) for as long as that
  lives, so that a starting server can tell what a killed one left;
- ``.last-id``: the newest id given, and the lock under which ids and keys are given;
- ``.keys/<key>``: a symbolic link whose target is the file stored with this key. One that dangles
  counts for nothing, so deleting a backup, or dying before it got its name, forgets the key.

A backup's bytes and its key are synced before it gets its name, by a link that fails if the name is
taken, and the directory is synced before anyone is told. Threads, processes and hosts are put in
order by the flock on ``.last-id`` alone, held for a few system calls, and across the sync of a key.
What is not done: locking against programs that change the directory behind the server's back, and
repairing files.
"""

import errno
import fcntl
import io
import logging
import os
import re
import secrets
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from . import document, ids
from .catalog import Catalog
from .document import Document, Head, Receipt
from .errors import BackupError, DamagedBackup, NoRoom, Unavailable, UnknownBackup, UnusableBase
from .upload import Upload

log = logging.getLogger("backup_server")

_TEMPORARY = re.compile(r"\.upload-[0-9a-z_]{8,32}\.tmp", re.ASCII)
_LAST_ID, _KEYS = ".last-id", ".keys"
_CHUNK = 256 * 1024
# What must still fit for the server to be healthy: an ordinary upload, with what a copy-on-write
# file system sets aside for its names.
_PROBE = bytes(64 * 1024)
_LARGE = 1024 * 1024
_hashers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hasher")
# How many bytes .last-id has: more than the longest id.
_RECORD = 64
#: Somebody's private work: for the server's user alone, also the directories it makes.
_MODE, _DIRECTORY_MODE = 0o600, 0o700
#: When ids are further ahead of the clock than this, the log says so. A few seconds are usual.
_AHEAD = timedelta(minutes=5)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _IdTaken(Exception):
    """A file already has the name that a new backup was to get."""


class Storage:
    """One storage directory, which other threads, processes and hosts may share.

    Every method raises NoRoom when the disk or quota is full, and Unavailable when the directory
    or the disk under it fails otherwise; then nothing was stored.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.catalog = Catalog(directory)
        self._last_id = directory / _LAST_ID
        self._keys = directory / _KEYS
        self._held: int | None = None
        self._identity: tuple[int, int] | None = None
        self._greatest = ""
        self._links = False
        self._probed = float("-inf")

    def prepare(self) -> None:
        """Make the directory if it is missing, and remove what killed servers left in it.

        From then on the directory has to be this very one: should its disk be unmounted, what is
        below is not to be mistaken for it.
        """
        _make_durably(self.directory)
        self._hold()
        self.sweep()
        self._all_ids()
        try:
            self.check()
        except BackupError as error:  # what is stored can be read all the same
            log.error("%s", error)

    def sweep(self) -> None:
        """Remove the temporary files of processes that are gone."""
        for name in os.listdir(self.directory):
            if _TEMPORARY.fullmatch(name):
                self._remove_abandoned(self.directory / name)

    def check(self) -> None:
        """Raise NoRoom or Unavailable if it is plain that no backup can be stored now."""
        with self._using("The storage directory cannot be used"):
            status = os.statvfs(f"{self.directory}/")  # with a slash, a file in its place fails
            for directory in (self.directory, self._keys):
                _check_writable(directory)
            self._probe()
        # Some network file systems report no totals at all.
        if (status.f_blocks and not status.f_bavail) or (status.f_files and not status.f_favail):
            raise NoRoom(f"There is no room left on the disk of {self.directory}.")

    def _probe(self) -> None:
        """Do what the next upload begins with, once a second at the most while that succeeds."""
        if time.monotonic() < self._probed + 1:
            return
        try:
            os.close(self._open_last_id())
            if not self._links:
                self._try_link()
            with tempfile.TemporaryFile(
                dir=self.directory, prefix=".upload-", suffix=".tmp"
            ) as file:
                file.write(_PROBE)  # disk and quota are asked when room is reserved
        except OSError as error:
            # Many connections, which go away: nothing is wrong with the directory.
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        else:
            self._probed = time.monotonic()

    def _try_link(self) -> None:
        """Give a file two names, as an upload needs it, and as FAT and exFAT cannot."""
        with self._temporary() as (_, path):
            other = path.with_name(f".upload-{secrets.token_hex(8)}.tmp")
            try:
                os.link(path, other)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    raise
                raise Unavailable(
                    f"The file system of {self.directory} has no hard links, which uploads need; "
                    "use another one, such as ext4."
                ) from error
            os.unlink(other)
        self._links = True

    def receiving(self) -> "_Using":
        """Explain what fails while a body is received into a file that :meth:`spool` opened."""
        return self._using("The upload cannot be received")

    def spool(self) -> BinaryIO:
        """Open a file without a name, in the directory's file system, for a body to check."""
        return tempfile.TemporaryFile(dir=self.directory, prefix=".upload-", suffix=".tmp")

    def add(self, upload: Upload, key: str | None = None) -> tuple[Receipt, bool]:
        """Store an upload durably; return its receipt, and whether it is new.

        With a key that is known already nothing is stored, and the receipt is the first one's.
        """
        with self._using("The backup could not be stored"):
            while True:
                try:
                    return self._add(upload, key)
                except _IdTaken:
                    self._all_ids()  # by a file that came without this server

    def find(self, key: str) -> Receipt | None:
        """Return the receipt of the backup stored with this key, once it is durable, or None."""
        with self._using("The key could not be looked up"):
            receipt = self._stored_with(key)
            if receipt is not None:
                _sync_directory(self.directory)
            return receipt

    def open(self, backup_id: str) -> tuple[BinaryIO, Head]:
        """Open a backup for reading; raise UnknownBackup, or DamagedBackup for half a file."""
        with self._using("The backup could not be read"):
            return self._open(backup_id)

    def open_base(self, backup_id: str) -> tuple[BinaryIO, Head]:
        """Open a backup to be changed; raise UnusableBase if that one cannot be read."""
        with self._using("The base could not be read"):
            try:
                return self._open(backup_id)
            except UnknownBackup:
                raise UnusableBase("There is no backup with the id that base gives") from None
            except (DamagedBackup, OSError) as error:
                if not self.catalog.passes_over(backup_id, error):
                    raise
                raise UnusableBase("The base is damaged") from error

    def open_latest(self) -> tuple[BinaryIO, Head]:
        """Open the newest readable backup; raise UnknownBackup if there is none."""
        with self._using("The backups could not be listed"):
            for backup_id, _ in self.catalog.newest_first(self._all_ids()):
                try:
                    return self._open(backup_id)
                except UnknownBackup:
                    continue  # deleted since it was listed
                except (DamagedBackup, OSError) as error:
                    if not self.catalog.passes_over(backup_id, error):
                        raise
        raise UnknownBackup("There is no backup yet.")

    def page(self, limit: int | None, before: str | None) -> tuple[list[bytes], str | None]:
        """Return listing entries as JSON, newest first, and the id to go on before, if any."""
        with self._using("The backups could not be listed"):
            entries, last = [], None
            for backup_id, entry in self.catalog.newest_first(self._all_ids(), before):
                if len(entries) == limit:
                    return entries, last
                entries.append(entry)
                last = backup_id
            return entries, None

    def delete(self, backup_id: str) -> None:
        """Delete a backup and its key, durably; raise UnknownBackup unless there is one."""
        with self._using("The backup could not be deleted"):
            try:
                key = self.catalog.head(backup_id).key
            except (DamagedBackup, OSError, MemoryError):
                key = None  # what cannot be read can be deleted all the same
            with self._exclusive_if_possible():
                try:
                    os.unlink(self.directory / ids.file_name(backup_id))
                except FileNotFoundError:
                    raise UnknownBackup("There is no backup with this id.") from None
                self.catalog.changed()
                if key is not None:
                    self._forget(key, backup_id)
            _sync_directory(self.directory)

    def _hold(self) -> None:
        """Take note of the directory, and keep it open: no other one is given its inode then."""
        self._held = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._held)
        status = os.fstat(self._held)
        self._identity = status.st_dev, status.st_ino

    def _using(self, what: str) -> "_Using":
        return _Using(what, self._check_identity)

    def _check_identity(self) -> None:
        status = os.stat(self.directory)
        if self._identity not in (None, (status.st_dev, status.st_ino)):
            raise Unavailable(
                f"{self.directory} is not the directory this server started with, as if its disk "
                "had been unmounted; bring that back, or restart the server."
            )

    def _forget(self, key: str, backup_id: str) -> None:
        """Remove the key of a deleted backup; should it stay, it dangles and counts for nothing."""
        try:
            if self._target(key) == backup_id:
                os.unlink(self._keys / key)
        except OSError as error:
            log.error(".keys/%s stays, and leads nowhere: %s", key, error)

    def _open(self, backup_id: str) -> tuple[BinaryIO, Head]:
        descriptor, status = self.catalog.open(backup_id)
        try:
            head = self.catalog.head_of(descriptor, status, backup_id)
        except BaseException:
            os.close(descriptor)
            raise
        return io.FileIO(descriptor), head

    def _add(self, upload: Upload, key: str | None) -> tuple[Receipt, bool]:
        now = datetime.now(UTC)
        backup_id = self._next_id(now)
        content = document.render(upload, backup_id, iso(now), key)
        with self._temporary() as (descriptor, temporary):
            _write(descriptor, content)
            os.fsync(descriptor)
            first = self._publish(descriptor, temporary, backup_id, key)
        self.catalog.changed()
        try:
            _sync_directory(self.directory)
        except OSError:
            # Not durable, so not stored. With a key it stays all the same: a retry in another
            # process may have been answered with its receipt.
            if key is None:
                os.unlink(self.directory / ids.file_name(backup_id))
            raise
        return first or content.receipt, first is None

    def _remove_abandoned(self, path: Path) -> None:
        """Remove a temporary file unless the process that writes it is alive."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENOENT:
                log.error("%s cannot be removed: %s", path.name, error)
            return
        try:
            if _lock_unless_locked(descriptor):
                _remove(path)
                log.info("removed %s, left by a server that was killed", path.name)
        finally:
            os.close(descriptor)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[int, Path]]:
        """Create a temporary file, locked, and remove it at the end whatever happens."""
        while True:
            path = self.directory / f".upload-{secrets.token_hex(8)}.tmp"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            try:
                # A server that starts between open and flock takes the file for abandoned.
                if _lock_unless_locked(descriptor) and os.fstat(descriptor).st_nlink:
                    yield descriptor, path
                    return
            finally:
                _remove(path)
                os.close(descriptor)

    def _publish(
        self, descriptor: int, temporary: Path, backup_id: str, key: str | None
    ) -> Receipt | None:
        """Give a synced file its name and its key, unless a backup was stored with the key before.

        Returns the receipt of that one. Raises _IdTaken if the name is another file's.
        """
        if key is None:
            self._link(descriptor, temporary, backup_id)
            return None
        with self._exclusive():
            if first := self._stored_with(key):
                return first
            if (self.directory / ids.file_name(backup_id)).exists():
                raise _IdTaken  # or the key would lead to a backup that is not this one
            if not self._keys.is_dir():
                self._clear_way(self._keys)
                self._keys.mkdir(mode=_DIRECTORY_MODE)
                _sync_directory(self.directory)
            self._clear_way(self._keys / key)
            os.symlink(Path("..") / ids.file_name(backup_id), self._keys / key)
            try:
                # First the key, and on the disk: what happens in between leaves a link that
                # dangles, not a backup whose key is forgotten and which a retry stores again.
                _sync_directory(self._keys)
                self._link(descriptor, temporary, backup_id)
            except BaseException:
                _remove(self._keys / key)
                raise
        return None

    def _clear_way(self, path: Path) -> None:
        """Remove a link that leads nowhere; what somebody else put in its place is moved aside."""
        if path.is_symlink():
            os.unlink(path)
        elif path.exists():
            os.rename(path, path.with_name(f"{path.name}.{secrets.token_hex(4)}"))

    def _link(self, descriptor: int, temporary: Path, backup_id: str) -> None:
        try:
            os.link(temporary, self.directory / ids.file_name(backup_id))
        except FileExistsError:
            # Over NFS the answer to a link that was made may be lost; then the repeated call
            # fails, but the file has two names (open(2), O_EXCL).
            if os.fstat(descriptor).st_nlink != 2:
                raise _IdTaken from None

    def _stored_with(self, key: str) -> Receipt | None:
        """Return the receipt of the backup a key leads to, if that says it was stored with it."""
        backup_id = self._target(key)
        if backup_id is None:
            return None
        try:
            head = self.catalog.head(backup_id)
        except (UnknownBackup, DamagedBackup):
            return None
        except OSError as error:
            # Better stored twice than refused for as long as a bad sector stays.
            if not self.catalog.passes_over(backup_id, error):
                raise
            return None
        return head.receipt() if head.key == key else None

    def _target(self, key: str) -> str | None:
        try:
            return ids.id_of(os.path.basename(os.readlink(self._keys / key)))
        except OSError as error:
            # It is no link, or .keys is no directory.
            if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.ELOOP):
                raise
            return None

    def _next_id(self, now: datetime) -> str:
        with self._exclusive() as descriptor:
            last = _read_id(descriptor) or max(self.catalog.ids(), default="")
            # Somebody may have put back an old .last-id.
            backup_id = ids.next_id(max(last, self._greatest), now)
            _write_id(descriptor, backup_id)
        self._greatest = max(self._greatest, backup_id)
        if ids.is_ahead(backup_id, now, _AHEAD):
            log.warning("ids run ahead of the clock: %s is given at %s", backup_id, iso(now))
        return backup_id

    def _all_ids(self) -> list[str]:
        """Return all ids, and let new ones be greater, whichever program brought these here."""
        all_ids = self.catalog.ids()
        if all_ids and all_ids[-1] > self._greatest:
            self._greatest = all_ids[-1]
            try:
                with self._exclusive() as descriptor:
                    if _read_id(descriptor) < self._greatest:
                        _write_id(descriptor, self._greatest)
            except OSError as error:  # nothing can be stored now, and what is there can be read
                log.error(".last-id cannot be written: %s", error)
        return all_ids

    @contextmanager
    def _exclusive(self) -> Iterator[int]:
        """Hold the directory's one lock, against threads, processes and hosts alike.

        Yields the open ``.last-id``, whose closing, as the death of the process, releases the lock.
        """
        descriptor = self._lock()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _exclusive_if_possible(self) -> Iterator[None]:
        """Hold the lock, unless there is no room to make it: then no upload can hold it either."""
        try:
            descriptor = self._lock()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            yield
            return
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self) -> int:
        while True:
            descriptor = self._open_last_id()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # If it was removed meanwhile, others lock a new one.
                if os.fstat(descriptor).st_nlink:
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _open_last_id(self) -> int:
        # Neither a link, whose target would be overwritten, nor a pipe, which holds nothing.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._last_id, flags, _MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "It is not a file", str(self._last_id))
        return descriptor


class _Using:
    """Check the directory before and after something is done in it; explain what fails.

    Turns an OSError into NoRoom or Unavailable. Not a generator: on Python 3.12 and 3.13 an
    exception caught in one refers to itself, and would keep the upload's file, which has no name
    but takes room, until the garbage is collected.
    """

    def __init__(self, what: str, check: Callable[[], None]):
        self._what = what
        self._check = check

    def __enter__(self) -> None:
        try:
            self._check()
        except OSError as error:
            self._explain(error)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            self._explain(error)
        if error is not None:
            return
        try:
            self._check()
        except FileNotFoundError as gone:
            self._explain(gone)
        except OSError as unknown:
            # What was to be done is done, and was synced where that was promised.
            log.error("%s cannot be looked at: %s", unknown.filename, unknown.strerror)

    def _explain(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        name = os.path.basename(str(error.filename or ""))
        if name in (_LAST_ID, _KEYS):
            reason = f"{name}: {reason}"
        kind = NoRoom if error.errno in _FULL else Unavailable
        raise kind(f"{self._what}: {reason}.") from error


def _make_durably(directory: Path) -> None:
    """Make a directory and its parents, each synced into the one above it."""
    parent = directory.absolute().parent
    if not directory.is_dir():
        _make_durably(parent)
        directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        _sync_directory(parent)
        return
    try:
        # Who made it may not have come to this.
        _sync_directory(parent)
    except OSError as error:
        log.warning("%s cannot be synced: %s", parent, error)


def _check_writable(directory: Path) -> None:
    """Raise Unavailable if a directory is there and this process may not write to it."""
    if os.access(directory, os.W_OK | os.X_OK) or not directory.is_dir():
        return
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise Unavailable(f"{directory} cannot be written: its file system is read-only.")
    user = os.geteuid()
    raise Unavailable(
        f"The storage directory {directory} cannot be written by user {user}; "
        f"if it is another user's, let root run: chown -R {user} {directory}."
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_id(descriptor: int) -> str:
    """Return the newest id given, or nothing where that is not known."""
    last = os.pread(descriptor, _RECORD, 0).decode(errors="replace").strip()
    return last if ids.is_id(last) else ""


def _write_id(descriptor: int, backup_id: str) -> None:
    os.pwrite(descriptor, f"{backup_id:<{_RECORD - 1}}\n".encode(), 0)


def _lock_unless_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a file that must not stay; one that can't be removed fails nothing, but is logged."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("%s stays until the next start: %s", path.name, error)


def _write(descriptor: int, content: Document) -> None:
    """Write a document; a large one is hashed by another processor meanwhile."""
    if content.receipt.size < _LARGE:
        _write_all(descriptor, b"".join((content.before, content.digest(), *content.after)))
        return
    hashing = _hashers.submit(content.digest)
    for piece in (content.before, b"0" * document.DIGITS, *content.after):
        _write_all(descriptor, piece)
    os.pwrite(descriptor, hashing.result(), len(content.before))


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        # Not all at once: the kernel would look for as much memory in one piece, and clear it.
        left = left[os.write(descriptor, left[:_CHUNK]) :]


def iso(moment: datetime) -> str:
    """Return a UTC time in ISO 8601 with milliseconds and Z, as JavaScript writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
