"""What a shell hands a command for ``<(…)``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_pipes = pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no <(…) here")


@contextmanager
def handed_over(text: str) -> Iterator[Path]:
    """The name of a pipe from which a short text can be read, once."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    try:
        yield Path(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
