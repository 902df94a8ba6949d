"""``history.jsonl``: written a line at a time, read whatever happened to it."""

from __future__ import annotations

from tai_dpt.io.history import HISTORY_FILE, History, read_history


def test_what_is_written_is_read(tmp_path) -> None:
    history = History(tmp_path)
    history.write(epoch=1, step=1, loss=0.5, lr=0.1)
    assert read_history(tmp_path)[0]["loss"] == 0.5  # at once, not when it is closed
    history.write(epoch=1, step=1, split="val", mAP=float("nan"))
    history.close()
    assert [line.get("mAP", 0) for line in read_history(tmp_path)] == [0, None]


def test_no_file_and_damaged_lines(tmp_path) -> None:
    assert read_history(tmp_path) == []
    assert read_history(tmp_path / "nowhere") == []
    good = '{"epoch": 1, "step": 1, "seconds": 2.5}\n'
    (tmp_path / HISTORY_FILE).write_bytes(
        good.encode() + b'[1]\n{"step": 3}\n\xff\n{"epoch": 2, "s'
    )
    assert [line["step"] for line in read_history(tmp_path)] == [1]
    history = History(tmp_path, epochs_done=1)
    history.write(epoch=2, step=2)
    history.close()
    lines = read_history(tmp_path)
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[1]["seconds"] >= 2.5
    assert (tmp_path / HISTORY_FILE).read_text().count("\n") == 2


def test_a_new_run_starts_a_new_file(tmp_path) -> None:
    for _ in range(2):
        history = History(tmp_path)
        history.write(epoch=1, step=1)
        history.close()
    assert len(read_history(tmp_path)) == 1
