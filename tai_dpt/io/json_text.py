"""Values as JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from tai_dpt.io.console import as_text


def plain(value: Any) -> Any:
    """Plain values of dictionaries, sequences, arrays and paths; what is not finite is None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def json_document(value: Any) -> str:
    r"""Over several lines; bytes of a file name that are no text become �, as readers want text.

    >>> json_document({"run": "caf\udce9"})
    '{\n "run": "caf�"\n}'
    """
    return as_text(json.dumps(plain(value), indent=1, ensure_ascii=False))


def json_text(value: Any) -> str:
    """One line, without its end; bytes of a file name that are no text become ``\\udc…``."""
    value = plain(value)
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
