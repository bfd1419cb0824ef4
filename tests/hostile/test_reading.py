"""The server's reading of JSON against Python's own, for texts of every kind."""

from hostile import reading


def test_a_text_is_read_or_refused_as_python_does_to_the_byte():
    seen = reading.run(4, seed=12)
    assert min(seen["read"], seen["read, with half pairs"], seen["refused"]) > 200, seen
