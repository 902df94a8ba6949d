"""Where ``tai-dpt grow-vocabulary`` writes: nothing is replaced unasked, what it reads never."""

from __future__ import annotations

import pytest

from taggers import run


@pytest.mark.parametrize(("name", "more"), [("out.yaml", ()), ("mine.txt", ("--overwrite",))])
def test_a_file_that_is_there_stays(name, more, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("dog\n")
    (tmp_path / "out.yaml").write_text("precious")
    before = (tmp_path / name).read_text()
    out = tmp_path / name
    code, _, err = run("grow-vocabulary", tmp_path / "mine.txt", "--out", out, *more)
    assert code == 2
    assert "--overwrite" in err or "is what is read" in err
    assert out.read_text() == before
