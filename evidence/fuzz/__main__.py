"""Let libFuzzer look for an input that one of the readers' checks fails on.

``python -m fuzz uploads --seconds 3600``, in ``evidence/``; the tests start it for every target:

- uploads: bodies of ``POST /api/backup``;
- changes: a stored backup, a NUL, and the body of ``POST /api/backup?base=`` for it;
- files: files of any contents in the storage directory.

It is guided by the coverage of ``backup_server`` (atheris). What a check fails on lies in
``fuzz/corpus/`` afterwards, under a name that begins with found-; ``test_corpus.py`` tries it
again.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["backup_server"]):
    from .readers import CHECKS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=CHECKS)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    corpus = HERE / "corpus" / options.target
    with tempfile.TemporaryDirectory() as found:
        libfuzzer = [
            *(sys.argv[0], found, str(corpus)),
            f"-max_total_time={options.seconds}",
            f"-artifact_prefix={corpus}/found-",
            f"-dict={HERE / 'json.dict'}",
            *("-max_len=2000", "-timeout=20", "-print_final_stats=1", "-verbosity=0"),
        ]
        atheris.Setup(libfuzzer, CHECKS[options.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
