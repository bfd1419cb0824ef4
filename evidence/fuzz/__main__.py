"""Let libFuzzer look for an input that one of the checks fails on, after all of ``fuzz/corpus/``.

``python -m fuzz uploads --seconds 3600``, in ``evidence/``; the test starts it for every target:

- uploads: bodies of ``POST /api/backup``;
- changes: a stored backup, a NUL, and the body of ``POST /api/backup?base=`` for it;
- files: files of any contents in the storage directory.

It is guided by the coverage of ``backup_server`` (atheris). A check returns nothing; an exception
is a bug found. What is stored or refused is compared with Python's own JSON reader (``oracle.py``
in ``tests/``). What a check fails on lies in the corpus afterwards, its name begins with found-.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["backup_server"]):
    import oracle
    from oracle import ID, stored
    from support import CATEGORIES, Client

    from backup_server import document, patch
    from backup_server.document import HEAD_BYTES
    from backup_server.errors import InvalidBackup, UnusableBase
    from backup_server.upload import check_upload

OTHER_ID = "2026-02-01T10-54-28"
#: What inputs are made of, besides the corpus.
WORDS = r"""{ } [ ] : , " \\ \u0061 \ud83d \ude00 null true 1e400 -0 1.0 "atoms": "snapshots":
    "configOverrides": "clientTimestamp": "slug": "id": "atomSlug": "put": "delete": "counts":
    "timestamp": "version":1 "layout": "sha256": "key": "data":"""


def expect(read, *arguments):
    """Return what a backup's data and origin must be, or None where it must be refused."""
    try:
        return read(*arguments)
    except (ValueError, RecursionError):  # is_near_a_limit says whether it may be the latter
        return None


def check_upload_body(body: bytes) -> None:
    """An upload is stored as it was sent, or refused as the contract says."""
    expected = expect(oracle.upload, body)
    try:
        upload = check_upload(body)
    except InvalidBackup:
        assert expected is None or oracle.is_near_a_limit(body)
    else:
        oracle.assert_stored(stored(upload), *expected)


def check_change(text: bytes) -> None:
    """A change to a base gives what an upload of the changed state would be, or is refused."""
    base_body, _, change = text.partition(b"\0")
    try:
        base = stored(base_body)
    except InvalidBackup:
        return
    expected = expect(oracle.apply, change, *oracle.upload(base_body))
    try:
        with oracle.as_file(base) as file:
            result = stored(patch.apply(patch.read(change), file, ID, 10**9))
    except (InvalidBackup, UnusableBase):
        assert expected is None or oracle.is_near_a_limit(text)
    else:
        oracle.assert_stored(result, *expected)


def check_file(client: Client, content: bytes) -> None:
    """A file in the storage directory is read or is damaged, and harms no other."""
    (client.data_dir / f"backup-{OTHER_ID}.json").write_bytes(content)
    listed = {entry["id"]: entry for entry in client.get("/api/backup/list").json["backups"]}
    assert ID in listed
    answer = client.get(f"/api/backup/{OTHER_ID}")
    if OTHER_ID not in listed:
        assert answer.status == 500, answer
        return
    assert (answer.status, answer.body) == (200, content)
    assert {*listed[OTHER_ID]["counts"]} == {*CATEGORIES}
    own = content.startswith(b'{"id":"') and b'\n"data":' in content[:HEAD_BYTES]
    with oracle.as_file(content) as file:
        head = document.read(file)
    for name in CATEGORIES:
        part = client.post("/api/restore", {"backupId": OTHER_ID, "items": [name]}).body
        offset, length = head.part(name)
        assert part.endswith(b":%s}}" % (content[offset : offset + length] or b"[]"))
        if not own:
            assert oracle.read(part)["data"][name] == oracle.read(content)["data"].get(name, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["uploads", "changes", "files"])
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    corpus = Path(__file__).parent / "corpus" / options.target
    with tempfile.TemporaryDirectory() as name:
        made, words = Path(name) / "made", Path(name) / "words"
        made.mkdir()
        words.write_text("\n".join([*map(json.dumps, WORDS.split()), r'"\x00"', r'"\xef\xbb\xbf"']))
        client = Client(Path(name) / "data")
        good = stored(b'{"atoms":[1]}')
        (client.data_dir / f"backup-{ID}.json").write_bytes(good)
        logging.disable()  # of damaged files there are thousands a minute
        check = {
            "uploads": check_upload_body,
            "changes": check_change,
            "files": lambda content: check_file(client, content),
        }[options.target]
        libfuzzer = [sys.argv[0], str(made), str(corpus), f"-artifact_prefix={corpus}/found-"]
        libfuzzer += [f"-max_total_time={options.seconds}", f"-dict={words}", "-verbosity=0"]
        libfuzzer += ["-max_len=2000", "-timeout=20", "-print_final_stats=1"]
        atheris.Setup(libfuzzer, check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
