"""A page in headless Chromium: what it holds, and what happens when it is used.

Speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) over two pipes, without a library.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
TIMEOUT_S = 60.0


class Page:
    """A page. `complaints` are errors of its scripts and what its security policy has blocked, as they came."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._received = b""
        self._count = 0
        self._session = ""
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def open(self, url: str, until: str = "document.readyState == 'complete'") -> None:
        """Goes to a page and waits until an expression is true in it."""
        self.send("Page.navigate", url=url)
        self.wait_for(until)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever it is
        """The value of a JavaScript expression; of what it resolves to, if it is a promise."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Asks again and again until an expression is true."""
        give_up = time.monotonic() + TIMEOUT_S
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < give_up, (expression, self.complaints)
            time.sleep(0.02)

    def choose_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a file input, as a visitor does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.complaints.append(answer["params"]["entry"]["text"])
            if answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(answer["params"]["exceptionDetails"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert select.select([self._from], [], [], TIMEOUT_S)[0], "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._received += data
        first, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(first))


@contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A browser with one page; `profile` is a new folder for what it keeps."""
    for_browser, to_browser = os.pipe()
    from_browser, of_browser = os.pipe()
    flags = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"
    command = f'exec "$0" {flags} "--user-data-dir=$1" about:blank 3<&{for_browser} 4>&{of_browser}'
    with subprocess.Popen(
        ["bash", "-c", command, str(CHROMIUM), str(profile)], pass_fds=(for_browser, of_browser),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(for_browser)
        os.close(of_browser)
        try:
            page = Page(to_browser, from_browser)
            yield page
            page.send("Browser.close")
        finally:
            os.close(to_browser)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(from_browser)
