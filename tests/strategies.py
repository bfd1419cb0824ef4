"""JSON as text, drawn in every way RFC 8259 allows to write it, half surrogate pairs included."""

import json
from typing import NamedTuple

from hypothesis import strategies as st
from support import CATEGORIES

from backup_server.record_keys import KEYS

blank = st.sampled_from(["", "", "", " ", "\n", "\r\n\t", "  "])
number = st.from_regex(
    r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
character = st.one_of(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters='"\\'),
    st.sampled_from([f"\\{letter}" for letter in '"\\/bfnrt']),
    st.from_regex(r"\\u[0-9a-fA-F]{4}", fullmatch=True),
    st.sampled_from(["\\ud83d", "\\uDE00", "\\ud83d\\ude00"]),
)
string = st.lists(character, max_size=12).map(lambda parts: f'"{"".join(parts)}"')
scalar = st.one_of(st.sampled_from(["null", "true", "false"]), number, string)


def array_of(values: st.SearchStrategy[str], **size: int) -> st.SearchStrategy[str]:
    item = st.tuples(blank, values, blank).map("".join)
    return st.one_of(
        st.lists(item, min_size=1, **size).map(lambda items: f"[{','.join(items)}]"),
        blank.map(lambda space: f"[{space}]"),
    )


def object_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(blank, string, blank, st.just(":"), blank, values, blank).map("".join)
    return st.lists(member, min_size=1, max_size=4).map(lambda members: f"{{{','.join(members)}}}")


value = st.recursive(
    scalar, lambda inner: array_of(inner, max_size=4) | object_of(inner), max_leaves=12
)
_known = (*CATEGORIES, "clientTimestamp", "deviceId", "device", "counts")
other_name = string.filter(lambda name: json.loads(name) not in _known)


def is_whole(text: str) -> bool:
    """Tell whether a string has no half of a surrogate pair in it."""
    return not any(0xD800 <= ord(character) < 0xE000 for character in json.loads(text))


_name = string.filter(lambda text: is_whole(text) and text != '""')
origin = st.fixed_dictionaries(
    {},
    optional={
        '"clientTimestamp"': string.filter(is_whole),
        '"deviceId"': st.from_regex(r'"[A-Za-z0-9_-]{1,64}"', fullmatch=True),
        '"device"': st.sampled_from(["null", '""', f'"{"x" * 101}"']) | _name,
    },
)


def an_object(members: dict[str, str], gap: str = "") -> str:
    return "{" + ",".join(f"{gap}{a}{gap}:{gap}{b}{gap}" for a, b in members.items()) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Draw an upload that is accepted, its members in any order, some of them twice."""
    names = [f'"{name}"' for name in draw(st.sets(st.sampled_from(CATEGORIES)))]
    members = {name: draw(array_of(value, max_size=4)) for name in names}
    members |= draw(st.dictionaries(other_name, value, max_size=3)) | draw(origin)
    gap = draw(blank)
    order = {name: members[name] for name in draw(st.permutations(sorted(members)))}
    text = an_object(order, gap)
    if names and draw(st.booleans()):  # of members with one name the last counts
        text = f'{{{gap}"{names[0][1:-1]}":{draw(value)}{"," if order else ""}{text[1:]}'
    return gap + text + gap


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Draw a body in which a piece is missing, doubled or something else."""
    text = draw(bodies()).encode()
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, min(start + 3, len(text))))
    others = [b",", b"NaN", b"0", b"'", b"\\", b"\x00", b"\xef\xbb\xbf", b"-", b"[", b"\\ud8", b""]
    piece = draw(st.sampled_from([*others, text[start:stop] * 2]) | st.binary(max_size=3))
    return text[:start] + piece + text[stop:]


class Case(NamedTuple):
    """Texts of a base, of a change to it, and of a whole upload of the changed state."""

    base: str
    change: str
    whole: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base, change, whole, counts = {}, {}, {}, {}
    for name in draw(st.permutations(CATEGORIES)):
        old, new, lists = draw(_category(KEYS[name]))
        gap = draw(blank)
        base[f'"{name}"'] = f"[{gap}{f'{gap},{gap}'.join(old)}{gap}]"
        whole[f'"{name}"'] = f"[{','.join(new)}]" if lists else base[f'"{name}"']
        if lists:
            change[f'"{name}"'] = an_object(lists, draw(blank))
        counts[name] = len(new)
    others = st.dictionaries(other_name, value, max_size=3)
    for written, content in draw(others).items():
        base[written] = whole[written] = content
    for written, content in draw(others).items():
        chosen = draw(
            st.sampled_from([written, *(n for n in base if json.loads(n) not in CATEGORIES)])
        )
        change[chosen] = whole[chosen] = content
    given = draw(origin)
    change |= given
    if draw(st.booleans()):
        change['"counts"'] = json.dumps(counts)
    return Case(*(an_object(m, draw(blank)) for m in (base, change, whole | given)))


@st.composite
def _category(draw: st.DrawFn, name: str) -> tuple[list[str], list[str], dict[str, str]]:
    """Draw a category's records before and after a change, and the change, or nothing for none."""
    keys = draw(st.lists(string | number, max_size=6, unique_by=_meaning))
    old = [(key, draw(_records(name, key))) for key in keys[: draw(st.integers(0, len(keys)))]]
    records = [record for _, record in old]
    if draw(st.integers(0, 3)) == 0:
        return records, records, {}
    new, put, delete = [], [], []
    for key, record in old:
        what = draw(st.sampled_from(["stay", "stay", "put", "delete"]))
        if what == "delete":
            delete.append(draw(st.sampled_from([key, _otherwise(key)])))
        elif what == "put":
            put.append(draw(_records(name, draw(st.sampled_from([key, _otherwise(key)])))))
        new += {"stay": [record], "put": put[-1:], "delete": []}[what]
    added = [draw(_records(name, key)) for key in keys[len(old) :]]
    lists = {'"put"': f"[{','.join(draw(st.permutations(put)) + added)}]"}
    if delete or draw(st.booleans()):
        lists['"delete"'] = f"[{','.join(draw(st.permutations(delete)))}]"
    return records, new + added, lists


@st.composite
def _records(draw: st.DrawFn, name: str, key: str) -> str:
    """Write a record with this key, among other members, some of its own name before it."""
    spelling = st.sampled_from([f'"{name}"', f'"\\u{ord(name[0]):04x}{name[1:]}"'])
    members = [(draw(spelling), draw(value)) for _ in range(draw(st.sampled_from([0, 0, 1])))]
    members.append((draw(spelling), key))
    others = string.filter(lambda other: json.loads(other) != name)
    for _ in range(draw(st.integers(0, 2))):
        members.insert(draw(st.integers(0, len(members))), (draw(others), draw(value)))
    gap = draw(blank)
    return "{" + ",".join(f"{gap}{a}{gap}:{gap}{b}{gap}" for a, b in members) + "}"


def _meaning(key: str) -> str | tuple:
    content = json.loads(key)
    if isinstance(content, str):
        return content
    return ("number", key if abs(content) > 2**53 else content)


def _otherwise(key: str) -> str:
    """Write a key in another way that means the same, if there is one."""
    content = json.loads(key)
    return json.dumps(content) if isinstance(content, str) or abs(content) <= 2**53 else key
