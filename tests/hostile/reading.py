"""Texts of every kind, read by the server's code and by Python's own ``json``: the same, always.

``(cd tests && python -m hostile.reading --minutes 10)`` is the long form; a test runs a short one.
Each text is made at random, valid or nearly so, and often damaged after that. Compared are the
verdict, the members, the bytes of each name and value, the numbers of items, and the items' bytes.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from typing import Any

from backup_server import rawjson
from backup_server.errors import InvalidBackup

NAMES = ["atoms", "snapshots", "x", "", "é", "\ud83d", "\u083d", "😀", 'q"\\', "n" * 40]
BLANKS = ["", "", "", " ", "\n\t", "\r\n  "]
SCALARS = [
    *("0", "-0", "1.0", "1e400", "-12.5E-3", "9" * 40, "true", "false", "null"),
    *('""', '"a"', '"],[{}"', '"\\"\\\\"', '"\\ud83d"', '"\\ud83d\\ude00"', '"\\uDC00x"', '"é😀"'),
    '"\\u005c\\u0022,"',
]
DAMAGE = [
    *(b"", b",", b":", b'"', b"\\", b"[", b"]", b"{", b"}", b"0", b"-", b".", b"e", b"+", b" "),
    *(b"NaN", b"\x00", b"\x0b", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud8", b"'"),
    *(b"\\u", b"//", b"\xc2\xa0", b"tru", b"01", b"\x7f", b"\n", b"\\ud83d", b"Infinity"),
]


def blank() -> str:
    return random.choice(BLANKS)


def name() -> str:
    chosen = random.choice(NAMES)
    if random.random() < 0.3:
        units = chosen.encode("utf-16-be", "surrogatepass").hex()
        return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
    has_half = any(0xD800 <= ord(c) < 0xE000 for c in chosen)
    return json.dumps(chosen, ensure_ascii=has_half or random.random() < 0.5)


def value(depth: int) -> str:
    kind = random.random()
    if depth == 0 or kind < 0.4:
        return random.choice(SCALARS)
    if kind < 0.75:
        return array(depth)
    return an_object(depth)


def array(depth: int) -> str:
    of = an_object if random.random() < 0.4 else value
    inner = ",".join(
        f"{blank()}{of(depth - 1)}{blank()}" for _ in range(random.choice([0, 1, 2, 5]))
    )
    return f"[{inner or blank()}]"


def an_object(depth: int) -> str:
    inner = ",".join(
        f"{blank()}{name()}{blank()}:{blank()}{value(max(depth - 1, 0))}{blank()}"
        for _ in range(random.choice([0, 1, 2, 4]))
    )
    return "{" + (inner or blank()) + "}"


def text() -> bytes:
    made = (blank() + (an_object(4) if random.random() < 0.97 else value(2)) + blank()).encode()
    for _ in range(random.choice([0, 0, 0, 1, 1, 3])):
        start = random.randint(0, len(made))
        stop = min(start + random.choice([0, 0, 1, 2]), len(made))
        piece = random.choice([*DAMAGE, made[start:stop] * 2, bytes([random.randrange(256)])])
        made = made[:start] + piece + made[stop:]
    return made


def refuse(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_constant=refuse, parse_int=str, parse_float=str)


def skip(characters: str, at: int) -> int:
    while characters[at : at + 1] in (" ", "\t", "\n", "\r") and at < len(characters):
        at += 1
    return at


def expected_members(body: bytes) -> dict[str, tuple[bytes, bytes]] | None:
    """Read with Python alone: the text of each member's name and value; None if it is refused."""
    try:
        characters = body.decode()
        if not isinstance(json.loads(characters, parse_constant=refuse, parse_int=str), dict):
            return None
    except ValueError:
        return None
    found, at = {}, skip(characters, skip(characters, 0) + 1)
    while characters[at] != "}":
        decoded, after = _decoder.raw_decode(characters, at)
        start = skip(characters, skip(characters, after) + 1)
        _, stop = _decoder.raw_decode(characters, start)
        found[decoded] = characters[at:after].encode(), characters[start:stop].encode()
        at = skip(characters, stop)
        at = skip(characters, at + (characters[at] == ","))
    return found


def expected_items(array: bytes) -> list[bytes]:
    characters, found = array.decode(), []
    at = skip(characters, 1)
    while characters[at] != "]":
        _, stop = _decoder.raw_decode(characters, at)
        found.append(characters[at:stop].encode())
        at = skip(characters, stop)
        at = skip(characters, at + (characters[at] == ","))
    return found


def check(body: bytes) -> str:
    """Read a text in both ways; return what it was; raise AssertionError if they differ."""
    expected = expected_members(body)
    try:
        found = rawjson.members(body)
    except InvalidBackup:
        assert expected is None, body
        return "refused"
    assert expected is not None, body
    read = {key: (body[member.name], body[member.value]) for key, member in found.items()}
    assert read == expected, body
    assert list(read) == list(expected), body
    for key in ("atoms", "snapshots"):
        content: Any = expected.get(key, (b"", b"[]"))[1]
        count = rawjson.count(content)
        if content[:1] != b"[":
            assert count is None, body
            continue
        inner = expected_items(content)
        assert count == len(inner), body
        assert [content[place] for place in rawjson.items(content)] == inner, body
    return "read, with half pairs" if b"\\ud8" in body.lower() else "read"


def run(seconds: float, seed: int) -> Counter:
    random.seed(seed)
    seen, end = Counter(), time.monotonic() + seconds
    ways = [rawjson._FEW_ITEMS_BYTES, 0]
    try:
        while time.monotonic() < end:
            rawjson._FEW_ITEMS_BYTES = ways[seen.total() % 2]
            seen[check(text())] += 1
    finally:
        rawjson._FEW_ITEMS_BYTES = ways[0]
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    seen = run(options.minutes * 60, options.seed)
    print(", ".join(f"{number:,} {what}" for what, number in sorted(seen.items())))


if __name__ == "__main__":
    main()
