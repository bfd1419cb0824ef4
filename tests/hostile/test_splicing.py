"""Random states and random changes to them: what is stored is what a whole upload would be.

``EXAMPLES=2000`` in the environment makes it a long run.
"""

import json
import secrets
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from support import CATEGORIES, Server

from .reading import expected_items, expected_members
from .test_roundtrip import SETTINGS, blank, is_whole, number, other_name, string, value

KEYS = dict(zip(CATEGORIES, ("slug", "id", "id", "id", "atomSlug"), strict=True))


def meaning(key: str) -> str | tuple:
    value = json.loads(key)
    if isinstance(value, str):
        return value
    return ("number", key if abs(value) > 2**53 else value)


def otherwise(key: str) -> str:
    """Write a key in another way that means the same."""
    value = json.loads(key)
    return json.dumps(value) if isinstance(value, str) or abs(value) <= 2**53 else key


@st.composite
def records(draw: st.DrawFn, name: str, key: str) -> str:
    """Write a record with this key, among other members, some of its own name before it."""
    escaped = f'"\\u{ord(name[0]):04x}{name[1:]}"'
    spelling = st.sampled_from([f'"{name}"', escaped])
    members = [(draw(spelling), draw(value)) for _ in range(draw(st.sampled_from([0, 0, 1])))]
    members.append((draw(spelling), key))
    others = string.filter(lambda other: json.loads(other) != name)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(members)))
        members.insert(place, (draw(others), draw(value)))
    gap = draw(blank)
    return "{" + ",".join(f"{gap}{a}{gap}:{gap}{b}{gap}" for a, b in members) + "}"


class Case(NamedTuple):
    """Texts of a base's data, of a change to it, and of a whole upload of the changed state."""

    base: str
    change: str
    whole: str


def an_object(members: dict[str, str], gap: str = "") -> str:
    return "{" + ",".join(f"{gap}{a}{gap}:{gap}{b}{gap}" for a, b in members.items()) + "}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base, change, whole = {}, {}, {}
    counts = {}
    for name in draw(st.permutations(CATEGORIES)):
        if draw(st.integers(0, 3)) == 0:
            counts[name] = 0
            continue
        old, new, lists = draw(category(KEYS[name]))
        gap = draw(blank)
        base[f'"{name}"'] = f"[{gap}{f'{gap},{gap}'.join(old)}{gap}]"
        whole[f'"{name}"'] = base[f'"{name}"']
        if lists:
            change[f'"{name}"'] = an_object(lists, draw(blank))
            whole[f'"{name}"'] = f"[{','.join(new)}]"
        counts[name] = len(new)
    others = st.dictionaries(
        other_name.filter(lambda n: json.loads(n) != "counts"), value, max_size=3
    )
    for written, content in draw(others).items():
        base[written] = whole[written] = content
    for written, content in draw(others).items():
        chosen = draw(
            st.sampled_from([written, *(n for n in base if json.loads(n) not in CATEGORIES)])
        )
        change[chosen] = whole[chosen] = content
    if draw(st.booleans()):
        change['"clientTimestamp"'] = whole['"clientTimestamp"'] = draw(string.filter(is_whole))
    if draw(st.booleans()):
        change['"counts"'] = json.dumps(counts)
    return Case(*(an_object(members, draw(blank)) for members in (base, change, whole)))


@st.composite
def category(draw: st.DrawFn, name: str) -> tuple[list[str], list[str], dict[str, str]]:
    """Draw a category's records before and after a change, and the change, or nothing for none."""
    keys = draw(st.lists(string | number, max_size=6, unique_by=meaning))
    old = [(key, draw(records(name, key))) for key in keys[: draw(st.integers(0, len(keys)))]]
    if draw(st.integers(0, 3)) == 0:
        return [record for _, record in old], [record for _, record in old], {}
    new, put, delete = [], [], []
    for key, record in old:
        what = draw(st.sampled_from(["stay", "stay", "put", "delete"]))
        if what == "stay":
            new.append(record)
        elif what == "put":
            put.append(draw(records(name, draw(st.sampled_from([key, otherwise(key)])))))
            new.append(put[-1])
        else:
            delete.append(draw(st.sampled_from([key, otherwise(key)])))
    added = [draw(records(name, key)) for key in keys[len(old) :]]
    lists = {'"put"': f"[{','.join(draw(st.permutations(put)) + added)}]"}
    if delete or draw(st.booleans()):
        lists['"delete"'] = f"[{','.join(draw(st.permutations(delete)))}]"
    return [record for _, record in old], new + added, lists


def stored(
    server: Server, body: str, query: str = ""
) -> tuple[str, dict[str, tuple[bytes, bytes]]]:
    """Store a body; return its id and the members of the document that has come of it."""
    receipt = server.upload(body.encode(), query)
    outer = expected_members(server.get(f"/api/backup/{receipt['id']}").body)
    assert json.loads(outer["counts"][1]) == receipt["counts"]
    return receipt["id"], outer


def in_express_format(server: Server, data: str) -> str:
    backup_id = f"2026-01-01T00-00-00-000Z-{secrets.token_hex(6)}"
    text = f'{{\n  "id": "{backup_id}", "timestamp": "t",\n  "version": 1, "data": {data}}}'
    (server.data_dir / f"backup-{backup_id}.json").write_bytes(text.encode())
    return backup_id


@SETTINGS
@given(case=cases(), express=st.booleans())
def test_a_changed_base_is_to_the_byte_what_a_whole_upload_of_the_changed_state_is(
    server, case, express
):
    base = in_express_format(server, case.base) if express else stored(server, case.base)[0]
    changed_id, changed = stored(server, case.change, f"?base={base}")
    whole_id, whole = stored(server, case.whole)
    assert changed["counts"] == whole["counts"]
    if "clientTimestamp" in case.change:
        assert changed["clientTimestamp"] == whole["clientTimestamp"]
    data, expected = (expected_members(document["data"][1]) for document in (changed, whole))
    untouched = expected_members(case.base.encode())
    change = expected_members(case.change.encode())
    assert list(data) == list(expected)
    for name, (_, text) in expected.items():
        if name in CATEGORIES and name in change:
            assert expected_items(data[name][1]) == expected_items(text)
        else:
            assert data[name][1] == text
        if name in untouched and name not in change:
            assert data[name][1] == untouched[name][1]
    for backup_id in (base, changed_id, whole_id):
        server.request("DELETE", f"/api/backup/{backup_id}")


def test_the_cases_above_hold_every_kind_of_change(server):
    """What is drawn has records that stay between others, in many writings, and half pairs."""
    seen = []

    @settings(SETTINGS, max_examples=60, database=None, derandomize=True)
    @given(case=cases())
    def collect(case):
        seen.append(case)

    collect()
    changes = [json.loads(case.change) for case in seen]
    lists = [change[name] for change in changes for name in CATEGORIES if name in change]
    assert sum(len(change["put"]) > 1 for change in lists) > 5
    assert sum(len(change.get("delete", [])) > 0 for change in lists) > 5
    assert sum("counts" in change for change in changes) > 5
    assert sum("\\ud8" in case.base.lower() for case in seen) > 5
