"""A real headless Chromium, driven over its own debugging pipe: no driver, no port, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import absent

PHONE, DESK = 390, 1280
_TALL = 900


def chromium_path() -> str:
    """The browser's program. Absent: the test is skipped, or fails where CI says that all must be there."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        absent("no chromium: apt-get install chromium")
    return found


class Page:
    """A tab. ``console`` and ``requests`` hold what it said and asked for since it was opened."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._number, self._rest, self._session = 0, b"", ""
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its answer."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 16)
            assert more, "chromium ended"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        told: dict[str, Any] = json.loads(line)
        return told

    def open(self, path: Path, width: int = DESK, *, dark: bool = False) -> None:
        """Load a file at a width, and wait until it is drawn."""
        self._events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=_TALL, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])  # fmt: skip
        self.call("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self._events):
            self._events.append(self._next())

    def ask(self, script: str) -> Any:
        """The value of an expression in the page; the page's own policy does not stop it."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    @property
    def console(self) -> list[str]:
        """Errors and warnings that the page gave, also those of its policy."""
        self.ask("0")  # what it said before has come when this is answered
        kinds = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown",
                 "Page.javascriptDialogOpening"}  # fmt: skip
        return [json.dumps(e["params"]) for e in self._events if e.get("method") in kinds]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        self.ask("0")
        return [e["params"]["request"]["url"] for e in self._events if e.get("method") == "Network.requestWillBeSent"]

    def picture(self, target: Path) -> None:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        target.write_bytes(base64.b64decode(told["data"]))

    def pdf(self, target: Path) -> None:
        """The page as it prints."""
        told = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        target.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own, ended by its id when the block ends."""
    to_browser, from_browser = os.pipe(), os.pipe()
    read, write = to_browser[0], from_browser[1]

    def pipes() -> None:  # the browser reads 3 and writes 4
        kept = os.dup(read), os.dup(write)
        os.dup2(kept[0], 3)
        os.dup2(kept[1], 4)

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}"]  # fmt: skip
    process = subprocess.Popen(
        [chromium_path(), *flags, "about:blank"], preexec_fn=pipes, close_fds=False,  # noqa: PLW1509
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(read)
    os.close(write)
    try:
        yield Page(to_browser[1], from_browser[0])
    finally:
        process.terminate()
        process.wait(20)
        os.close(to_browser[1])
        os.close(from_browser[0])
