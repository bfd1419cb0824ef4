"""What fuzzing starts from, and all that it has ever found."""

from pathlib import Path

import pytest

from .readers import CHECKS

CORPUS = Path(__file__).with_name("corpus")
INPUTS = [path for name in CHECKS for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_a_reader_takes_or_refuses_it_as_pythons_own_would(path):
    CHECKS[path.parent.name](path.read_bytes())
