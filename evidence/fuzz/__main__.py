"""Inputs that nobody has thought of, for every reader of bytes from outside.

``python -m fuzz`` in ``tests/`` runs all targets at once for a minute, ``python -m fuzz uploads
--minutes 60`` one of them for an hour:

- uploads: bodies of ``POST /api/backup``;
- changes: a stored backup, a NUL, and the body of ``POST /api/backup?base=`` for it;
- files: files of any contents in the storage directory;
- http: half-valid requests on raw sockets, to a running server.

The first three are guided by the coverage of ``backup_server`` (atheris). What makes one of them
fail lies in ``fuzz/corpus/`` afterwards, under a name that begins with found-. It stays there, and
``test_corpus.py`` tries it together with the other tests.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
TARGETS = ("uploads", "changes", "files", "http")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=1)
    options = parser.parse_args()
    if options.target is None:
        sys.exit(run_all(options.minutes))
    if options.target == "http":
        from .requests import fuzz

        sys.exit(fuzz(options.minutes * 60))
    fuzz_reader(options.target, options.minutes * 60)


def run_all(minutes: float) -> int:
    """Run every target in a process of its own, at once; return how many have failed."""
    command = [sys.executable, "-m", "fuzz", "--minutes", str(minutes)]
    running = {name: subprocess.Popen([*command, name]) for name in TARGETS}
    failed = [name for name, process in running.items() if process.wait()]
    print(f"fuzz: {', '.join(failed) or 'nothing'} failed", file=sys.stderr)
    return len(failed)


def fuzz_reader(name: str, seconds: float) -> None:
    """Let libFuzzer call a check until the time is over or one fails; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["backup_server"]):
        from .readers import CHECKS

    with tempfile.TemporaryDirectory() as found:
        libfuzzer = [
            *(sys.argv[0], found, str(CORPUS / name)),
            f"-max_total_time={seconds:.0f}",
            f"-artifact_prefix={CORPUS / name}/found-",
            f"-dict={Path(__file__).with_name('json.dict')}",
            *("-max_len=2000", "-timeout=20", "-print_final_stats=1", "-verbosity=0"),
        ]
        atheris.Setup(libfuzzer, CHECKS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
