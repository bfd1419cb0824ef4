"""What schemathesis cannot know: how JSON travels under other names, and that keys are used up."""

import gzip
import json
import secrets
from typing import Any

import schemathesis


def encode(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("text/plain")
def as_text(context: Any, value: Any) -> bytes:
    return encode(value)


@schemathesis.serializer("application/gzip")
def as_gzip(context: Any, value: Any) -> bytes:
    return gzip.compress(encode(value))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give every upload a key of its own: with a key that is known the body is not looked at."""
    if len(str((case.query or {}).get("key", ""))) >= 16:
        case.query["key"] = secrets.token_hex(16)
