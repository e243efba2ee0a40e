"""Headless Chromium for the scripts of this folder: pictures of pages, and measurements in them."""

import json
import os
import shutil
import subprocess
import sys
from itertools import count
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """Headless Chromium, told what to do through a pair of pipes (the DevTools protocol)."""

    def __init__(self, profile: str):
        program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
        if program is None:
            sys.exit(f"error: no browser (allowed: one of {', '.join(BROWSERS)})")
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        options = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe"
        shell = f'exec "$0" {options} --user-data-dir="$1" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["sh", "-c", shell, program, profile], pass_fds=(commands, answers), stderr=subprocess.DEVNULL
        )
        self._numbers, self._session, self._rest = count(1), {}, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Do something, and say what came of it."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._in, 1 << 20)
            answer, _, self._rest = self._rest.partition(b"\0")
            told = json.loads(answer)
            if told.get("id") == number:
                return told["result"]

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)["result"].get(
            "value"
        )

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
