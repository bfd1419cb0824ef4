"""Let libFuzzer look for an input that a check fails on, beginning with ``fuzz/corpus/``.

``python -m fuzz -max_total_time=3600``, in ``evidence/``, takes libFuzzer's options. Each input is
read as the body of an upload; as a stored backup, a NUL, and the body of a change to it; and as a
file in the storage directory. The coverage of ``backup_server`` guides it (atheris). Each
result is compared with that of Python's own JSON reader (``tests/oracle.py``). An exception is a
bug found: its input lies in the corpus afterwards, under a name that begins with found-.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["backup_server"]):
    import oracle
    from oracle import ID, stored
    from support import CATEGORIES, ROOT, Client

    from backup_server import document, patch
    from backup_server.errors import InvalidBackup, UnusableBase

CORPUS = Path(__file__).parent / "corpus"
OTHER_ID = "2026-02-01T10-54-28"
#: What inputs are made of, besides the corpus.
WORDS = r"""{ } [ ] : , " \\ \u0061 \ud83d \ude00 null true 1e400 -0 1.0 "atoms": "snapshots":
    "configOverrides": "clientTimestamp": "slug": "id": "atomSlug": "put": "delete": "counts":
    "timestamp": "version":1 "layout": "sha256": "key": "data":"""


def compare(text: bytes, expect, store) -> None:
    """Check that the stored document is the oracle's, or that both refuse the input."""
    try:
        expected = expect()
    except (ValueError, RecursionError):  # is_near_a_limit says whether it may be the latter
        expected = None
    try:
        result = store()
    except (InvalidBackup, UnusableBase):
        assert expected is None or oracle.is_near_a_limit(text)
    else:
        oracle.assert_stored(result, *expected)


def check_change(text: bytes) -> None:
    """A change to a base gives what an upload of the changed state would be, or is refused."""
    base_body, _, change = text.partition(b"\0")
    try:
        base = stored(base_body)
    except InvalidBackup:
        return
    with oracle.as_file(base) as file:
        compare(
            text,
            lambda: oracle.apply(change, *oracle.upload(base_body)),
            lambda: stored(patch.apply(patch.read(change), file, ID, 10**9)),
        )


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
    own = content.startswith(b'{"id":"') and b'\n"data":' in content[: document.HEAD_BYTES]
    with oracle.as_file(content) as file:
        head = document.read(file)
    for name in CATEGORIES:
        part = client.post("/api/restore", {"backupId": OTHER_ID, "items": [name]}).body
        offset, length = head.part(name)
        assert part.endswith(b":%s}}" % (content[offset : offset + length] or b"[]"))
        if not own:
            assert oracle.read(part)["data"][name] == oracle.read(content)["data"].get(name, [])


def main() -> None:
    logging.disable()  # of damaged files there are thousands a minute
    with tempfile.TemporaryDirectory() as name:
        made, words = Path(name) / "made", Path(name) / "words"
        made.mkdir()
        words.write_text("\n".join([*map(json.dumps, WORDS.split()), r'"\x00"', r'"\xef\xbb\xbf"']))
        client = Client(Path(name) / "data")
        (client.data_dir / f"backup-{ID}.json").write_bytes(stored(b'{"atoms":[1]}'))

        def check(text: bytes) -> None:
            compare(text, lambda: oracle.upload(text), lambda: stored(text))
            check_change(text)
            if b"data" in text:  # without that word it is damaged, which takes long to see
                check_file(client, text)

        express = ROOT / "tests" / "samples" / "express-data"
        libfuzzer = [*sys.argv, str(made), str(CORPUS), str(express), f"-dict={words}"]
        libfuzzer += [f"-artifact_prefix={CORPUS}/found-", "-max_len=2000", "-timeout=20"]
        atheris.Setup([*libfuzzer, "-verbosity=0", "-print_final_stats=1"], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
