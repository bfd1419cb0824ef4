"""What schemathesis cannot know: how JSON travels under other names, and that keys are used up."""

import gzip
import json
import re
import secrets
from typing import Any

import schemathesis


def _encode(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("text/plain")
def as_text(context: Any, value: Any) -> bytes:
    return _encode(value)


@schemathesis.serializer("application/gzip")
def as_gzip(context: Any, value: Any) -> bytes:
    return gzip.compress(_encode(value))


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Leave out texts that are within a limit as characters, but not as the bytes of their JSON."""
    if not isinstance(body, dict):
        return True
    texts = [*body, body.get("clientTimestamp")]
    return not any(
        isinstance(text, str) and len(text) <= 1022 and len(json.dumps(text)) > 1024
        for text in texts
    )


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give every upload a key of its own: with a known one the body is not looked at."""
    key = case.query and case.query.get("key")
    if isinstance(key, str) and re.fullmatch("[A-Za-z0-9_-]{16,128}", key):
        case.query["key"] = secrets.token_hex(16)
