"""Which toolbox this process uses: stock Dassl or the embedded one."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, cast

from tai_dpt.errors import InputError, unknown

Toolbox = Literal["dassl", "embedded"]
VARIABLE = "TAI_DPT_TOOLBOX"
_VALID = ("dassl", "embedded")


def dassl_is_installed() -> bool:
    """Whether a real ``dassl`` is on the path (a folder that only bears the name is not one)."""
    try:
        return importlib.util.find_spec("dassl.engine") is not None
    except ModuleNotFoundError:
        return False


def choose_toolbox() -> Toolbox:
    """``TAI_DPT_TOOLBOX`` if set, else ``dassl`` where it is installed, else ``embedded``.

    Raises InputError for an unknown value, and where ``dassl`` is asked for but missing.
    """
    asked = os.environ.get(VARIABLE, "")
    if not asked:
        return "dassl" if dassl_is_installed() else "embedded"
    if asked not in _VALID:
        raise unknown(f"{VARIABLE} value", asked, _VALID)
    if asked == "dassl" and not dassl_is_installed():
        raise InputError(
            f"{VARIABLE}=dassl, but dassl cannot be imported: run 'pip install -e .' (or "
            "'python setup.py develop') in a clone of KaiyangZhou/Dassl.pytorch, put that clone "
            f"on PYTHONPATH, or set {VARIABLE}=embedded"
        )
    return cast(Toolbox, asked)
