"""A headless Chromium, driven over its own pipe: no library, no port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """One page; ``run`` evaluates JavaScript in it."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = os.fdopen(reading, "rb"), writing
        self._sent, self._rest = 0, b""
        self._session: dict[str, str] = {}
        self.complaints: list[str] = []  # what its console says
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                block = self._reading.read1(1 << 20)
                assert block, "the browser ended"
                self._rest += block
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(answer["params"]))
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.05)

    def open(self, url: str, *, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a file field."""
        field = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.call(
            "DOM.setFileInputFiles",
            files=[str(file) for file in files],
            objectId=field["result"]["objectId"],
        )

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, as from a keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                **{"type": kind, "key": key, "windowsVirtualKeyCode": code},
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def screenshot(self, path: Path) -> None:
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def new_page(profile: Path) -> Iterator[Page]:
    """A page in a browser of its own, whose files are in ``profile``."""
    assert BROWSER is not None
    theirs, ours = os.pipe()
    mine, answers = os.pipe()
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
    command = [BROWSER, *flags, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$0" "$@" 3<&{theirs} 4>&{answers}', *command],
        pass_fds=(theirs, answers),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(answers)
    try:
        yield Page(mine, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
