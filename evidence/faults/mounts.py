"""File systems to mount on a directory while a block runs; only root can."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000  # <linux/sched.h>


def keep_mounts_private() -> None:
    """Give this process mounts that vanish with it, however it ends (mount_namespaces(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rprivate", "/")


def run(*command: str | Path) -> str:
    """Run a program that has to succeed; return what it prints."""
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@contextmanager
def mounted(point: Path, *options: str | Path) -> Iterator[Path]:
    """Mount something on a directory, with the options of mount(8); what is in use goes as well."""
    point.mkdir(exist_ok=True)
    run("mount", *options, point)
    try:
        yield point
    finally:
        run("umount", "--lazy", point)


@contextmanager
def ext4_of(directory: Path, size: int, *options: str) -> Iterator[Path]:
    """Mount a new file system of so many bytes, with the options of mkfs.ext4(8)."""
    image = directory / "image"
    image.touch()
    os.truncate(image, size)
    run("mkfs.ext4", "-q", *options, image)
    with mounted(directory / "disk", "-o", "loop", image) as point:
        yield point
