"""A real browser without a window, driven over a pipe: what a page looks like, says, asks for and contains.

Chromium's own protocol (https://chromedevtools.github.io/devtools-protocol/), messages of JSON that end in a zero
byte. What the protocol evaluates is not the page's, so the page's policy stays as it is and is tested as well.
Knows pages by their files. Refuses to know what stands in them.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-default-apps "
    "--disable-extensions --mute-audio --hide-scrollbars --remote-debugging-pipe"
).split()
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
_SECONDS = 60
# The browser reads commands from descriptor 3 and answers on 4.
_LAUNCH = (
    "import os, sys; theirs = [int(word) for word in sys.argv[1:3]]; os.dup2(theirs[0], 3); os.dup2(theirs[1], 4); "
    "[os.set_inheritable(each, False) for each in theirs]; os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One browser with one page; ends with the `with` block, and all its processes do."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None, "ask whether there is one"
        pipes = [*os.pipe(), *os.pipe()]
        read, self._write, self._read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipes)
        for end in pipes:
            os.close(end)
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(read), str(write), PROGRAM]
        self._process = subprocess.Popen(
            [*command, *_OPTIONS, _NO_NETWORK, f"--user-data-dir={folder}"],
            pass_fds=(read, write), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read)
        os.close(write)
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        """All that the page reported since it was opened."""

    def __enter__(self) -> Self:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._session = ""
            self.call("Browser.close")
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> Any:
        """What the browser answers to a command."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, page: Path, *, width: int, height: int = 800, is_dark: bool = False) -> None:
        """Shows a page in a window of this width, once it is loaded whole."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
            assert self.events[-1].get("method") != "Page.javascriptDialogOpening", "a script opened a dialog"
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, clip: tuple[int, int, int, int] | None = None) -> bytes:
        """A PNG of the window, or of a part of it: x, y, width and height."""
        part = (
            {}
            if clip is None
            else {"clip": {**dict(zip(("x", "y", "width", "height"), clip, strict=True)), "scale": 1}}
        )
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **part)["data"])

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What stands in the console: messages, errors, and what the page's policy refused."""
        told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in told]


def pixels(png: bytes) -> Pixels:
    """A PNG of 8 bits a channel as numbers (height, width, 3); RFC 2083, sections 4.1, 6 and 9."""
    place, data = 8, b""
    while place < len(png):
        size, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        chunk = png[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height = (int.from_bytes(chunk[at : at + 4], "big") for at in (0, 4))
            channels = {2: 3, 6: 4}[chunk[9]]
            assert (chunk[8], chunk[12]) == (8, 0), "8 bits, not interlaced"
        elif kind == b"IDAT":
            data += chunk
        place += 12 + size
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    decoded = np.zeros((height + 1, width + 1, channels), np.int64)
    for number, row in enumerate(rows):
        line, above, filter_ = row[1:].reshape(width, channels), decoded[number], row[0]
        here = decoded[number + 1]
        if filter_ == 0:
            here[1:] = line
        elif filter_ == 1:
            here[1:] = np.cumsum(line, 0, dtype=np.int64) % 256
        elif filter_ == 2:
            here[1:] = (line + above[1:]) % 256
        else:
            for x in range(1, width + 1):
                left, up, corner = here[x - 1], above[x], above[x - 1]
                if filter_ == 3:
                    guess = (left + up) // 2
                else:
                    far = np.abs([up - corner, left - corner, left + up - 2 * corner])
                    by_left = (far[0] <= far[1]) & (far[0] <= far[2])
                    guess = np.where(by_left, left, np.where(far[1] <= far[2], up, corner))
                here[x] = (line[x - 1] + guess) % 256
    return decoded[1:, 1:, :3].astype(np.uint8)
