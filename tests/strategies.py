"""JSON as text, drawn in every way RFC 8259 allows to write it, half surrogate pairs included."""

import json
import re

from hypothesis import settings
from hypothesis import strategies as st
from oracle import KEYS

# How long an example takes says nothing on a machine that does other things as well.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

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


def array_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = st.tuples(blank, values, blank).map("".join)
    return st.lists(item, max_size=4).map(lambda items: f"[{','.join(items)}]")


def an_object(members: list[tuple[str, str]], gap: str = "") -> str:
    return "{" + ",".join(f"{gap}{a}{gap}:{gap}{b}{gap}" for a, b in members) + "}"


def object_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(an_object, st.lists(st.tuples(string, values), max_size=4), blank)


value = st.recursive(scalar, lambda inner: array_of(inner) | object_of(inner), max_leaves=12)
_known = (*KEYS, "clientTimestamp", "deviceId", "device", "counts")
_others = st.lists(
    st.tuples(string.filter(lambda name: json.loads(name) not in _known), value), max_size=3
)
_whole = string.filter(lambda text: not re.search("[\ud800-\udfff]", json.loads(text)))
_origin = st.fixed_dictionaries(
    {},
    optional={
        '"clientTimestamp"': _whole,
        '"deviceId"': st.from_regex(r'"[A-Za-z0-9_-]{1,64}"', fullmatch=True),
        '"device"': st.sampled_from(["null", '""', f'"{"x" * 101}"']) | _whole,
    },
).map(lambda members: [*members.items()])


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Draw an upload that is accepted, its members in any order, some of them twice."""
    names = draw(st.lists(st.sampled_from([f'"{name}"' for name in KEYS]), max_size=6))
    members = [(name, draw(array_of(value))) for name in names] + draw(_others) + draw(_origin)
    gap = draw(blank)
    return gap + an_object(draw(st.permutations(members)), gap) + gap


_key = st.sampled_from(['"a"', r'"\u0061"', r'"\ud83d"', '"1"', "1", "1.0", "10e-1"])
_key |= string | number


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a base and a change, which mostly fits it."""
    base, change = draw(_others), draw(_origin)
    change += [(name, draw(scalar)) for name, _ in base if draw(st.booleans())]
    change += [('"added"', draw(value))] if draw(st.booleans()) else []
    for name in draw(st.sets(st.sampled_from([*KEYS]), min_size=1, max_size=2)):
        field = KEYS[name]
        known = draw(st.lists(_key, max_size=3, unique=True))
        base.append((f'"{name}"', draw(_records(field, known))))
        put = draw(st.lists(st.sampled_from([*known, '"new"']), max_size=3, unique=True))
        delete = [key for key in known if key not in put and draw(st.booleans())]
        lists = [('"put"', draw(_records(field, put))), ('"delete"', f"[{', '.join(delete)}]")]
        if draw(st.booleans()):
            change.append((f'"{name}"', an_object(lists, draw(blank))))
    base += [('"deviceId"', '"of-the-base"'), ('"device"', '"B"')]
    texts = an_object(base, draw(blank)), an_object(change, draw(blank))
    return texts[0].encode(), texts[1].encode()


@st.composite
def _records(draw: st.DrawFn, field: str, keys: list[str]) -> str:
    """Draw an array of records with these keys among other members."""
    spelling = st.sampled_from([f'"{field}"', f'"\\u{ord(field[0]):04x}{field[1:]}"'])
    others = st.lists(st.tuples(spelling | st.just('"\\ud83d"'), scalar), max_size=1)
    records = [an_object([*draw(others), (draw(spelling), key)], draw(blank)) for key in keys]
    return f"[{draw(blank)}{(draw(blank) + ',').join(records)}{draw(blank)}]"
