"""A storage directory as it is after years of use, written as files, since uploads take minutes."""

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta

from support import CATEGORIES

KEYS = {"atoms": "slug", "configOverrides": "atomSlug"}
DEVICES = [("5f0c9e1a-laptop", "Laptop"), ("77aa01bc-phone", "Phone")]


def write_years(directory, number, days, now=None, devices=DEVICES):
    """Write so many backups over so many days until now; return their ids, newest first.

    Each is a file as the server writes it. The first device makes four of five; records are added
    in most backups and deleted in a few. The choice is the same at each call.
    """
    choose = random.Random(7)
    now = now or datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    has = [dict.fromkeys(CATEGORIES, 3) for _ in devices]
    times = set()
    while len(times) < number:
        times.add(_time(choose, days))
    ids = []
    for seconds in sorted(times, reverse=True):
        made = now - timedelta(seconds=seconds)
        which = choose.random() > 0.8 and len(devices) > 1
        for category in choose.choices(CATEGORIES, (60, 5, 30, 9, 4))[: choose.random() < 0.6]:
            step = choose.choices((1, 2, -1), (5, 1, 4))[0]
            has[which][category] = max(0, has[which][category] + step)
        ids.append(_write(directory, made, devices[which], has[which], choose.randrange(1, 900)))
    return ids[::-1]


def _time(choose, days):
    """Seconds before now: by day, with few backups in the night, and gaps of some days."""
    day = choose.randrange(days)
    hour = choose.choice((9, 10, 11, 14, 15, 16, 20, 21, 22))
    if day % 23 in (4, 5, 6):
        day += 3
    return day * 86_400 + (24 - hour) * 3_600 + choose.randrange(3_600) + 60


def _write(directory, made, device, counts, padding):
    """Write one file with records that are little but their keys; return its id."""
    id = f"{made:%Y-%m-%dT%H-%M-%S}"
    timestamp = f"{made:%Y-%m-%dT%H:%M:%S}.{made.microsecond // 1000:03}Z"
    records = {
        name: [{KEYS.get(name, "id"): f"{name}-{n}"} for n in range(count)]
        for name, count in counts.items()
    }
    data, layout = b"{", {}
    for name, items in records.items():
        data += b'"%s":' % name.encode()
        text = json.dumps(items, separators=(",", ":")).encode()
        layout[name] = [len(data), len(text)]
        data += text + b","
    data += b'"padding":"%s"}' % (b"x" * padding)
    head = {
        "id": id,
        "timestamp": timestamp,
        "clientTimestamp": timestamp,
        "deviceId": device[0],
        "device": device[1],
        "version": 1,
        "counts": counts,
        "layout": layout | {"data": [0, len(data)]},
        "sha256": "",
    }
    first = json.dumps(head, separators=(",", ":"))[:-2].encode()
    rest = b'",\n"data":' + data + b"}\n"
    sha256 = hashlib.sha256(first + rest).hexdigest().encode()
    (directory / f"backup-{id}.json").write_bytes(first + sha256 + rest)
    return id
