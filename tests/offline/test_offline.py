"""The measures themselves: what was imported first stays in use, and the user's own folders are respected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_openvino_first_stays_in_use_and_sends_nothing_more(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = """
import openvino, nncf
from openvino.tools.ovc import telemetry_utils
sender = telemetry_utils.tm.Telemetry()
import mdcsrn
sent = []
sender.sender = type("Sender", (), {"send": lambda self, *a, **k: sent.append(a)})()
sender.send_event("a", "b", "c")
telemetry_utils.init_ovc_telemetry().send_event("d", "e", "f")
from openvino_telemetry import Telemetry
print(type(sender) is Telemetry, sent, openvino.Core().available_devices[0])
"""
    assert run(code, HOME=str(tmp_path)) == "True [] CPU"


def test_the_telemetry_package_can_still_be_imported() -> None:
    pytest.importorskip("openvino_telemetry")
    code = "import mdcsrn, openvino_telemetry.backend.backend_ga4, openvino_telemetry as t; print(t.__version__)"
    assert run(code)


def test_a_blocked_import_stays_blocked() -> None:
    pytest.importorskip("openvino")
    code = "import sys; sys.modules['openvino_telemetry'] = None; import mdcsrn, openvino; print(openvino.__version__)"
    assert run(code)


def test_onnxruntime_reads_its_official_switch() -> None:
    assert run("import mdcsrn, os; print(os.environ['ORT_DISABLE_TELEMETRY'])", ORT_DISABLE_TELEMETRY="0") == "1"


def test_a_library_that_was_loaded_inside_a_measure_is_whole() -> None:
    pytest.importorskip("matplotlib")
    code = """
import mdcsrn, matplotlib, importlib.resources, pkgutil, socket
assert type(matplotlib.__loader__).__name__ == type(matplotlib.__spec__.loader).__name__ == "SourceFileLoader"
assert (importlib.resources.files("matplotlib") / "mpl-data").is_dir()
import urllib3.util.connection
print(urllib3.util.connection.HAS_IPV6 == socket.has_ipv6)
"""
    assert run(code) == "True"


def test_matplotlib_has_a_folder_for_the_time_of_the_process(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    place = Path(run("import mdcsrn, matplotlib.font_manager; print(matplotlib.get_cachedir())", HOME=str(tmp_path)))
    assert not place.is_relative_to(tmp_path)
    assert not place.exists()  # removed at the end
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".cache/matplotlib", ".config/matplotlib"])
def test_matplotlib_keeps_the_folder_that_its_user_has(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / name).mkdir(parents=True)
    place = run("import mdcsrn, matplotlib; print(matplotlib.get_cachedir())", HOME=str(tmp_path))
    assert Path(place) == tmp_path / ".cache" / "matplotlib"


def test_matplotlib_obeys_its_variable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code = "import mdcsrn, matplotlib; print(matplotlib.get_cachedir())"
    assert run(code, MPLCONFIGDIR=str(tmp_path)) == str(tmp_path)


def test_a_second_call_changes_nothing() -> None:
    code = "import sys, mdcsrn; before = list(sys.meta_path); mdcsrn.offline.install(); print(before == sys.meta_path)"
    assert run(code) == "True"
