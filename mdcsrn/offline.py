"""Keep other libraries from calling home, from opening sockets and from writing to the home folder.

OpenVINO and NNCF send statistics of use through ``openvino_telemetry``, which also keeps a client id in the home
folder; ONNX Runtime has its own telemetry, with a device id and a database; urllib3, which pydicom and MONAI bring
along, binds a socket when it is imported; matplotlib keeps a list of fonts. :func:`install` runs when ``mdcsrn`` is
imported, so it holds for every command, server and child process. A library that was imported earlier stays in use.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType

Around = Callable[[ModuleType], AbstractContextManager[None]]


def install() -> None:
    """Apply all measures to this process and to the processes that it starts; a second call changes nothing."""
    # ONNX Runtime's official switch: no uploader, no events, no device id. It counts before the library is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    runtime, telemetry = (sys.modules.get(name) for name in ("onnxruntime", "openvino_telemetry"))
    if runtime is not None:  # None stands there where somebody has blocked the import
        runtime.disable_telemetry_events()
    if telemetry is not None:
        _silence(telemetry)
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def _nothing(*arguments: object, **named: object) -> None:
    """Stand for a method that would send something."""


def _silence(package: ModuleType) -> None:
    """Replace the methods of ``openvino_telemetry.Telemetry``, for objects that exist already as well."""
    for name, value in list(vars(package.Telemetry).items()):
        if isinstance(value, FunctionType):  # static ones serve the package's own command line
            setattr(package.Telemetry, name, _nothing)


@contextmanager
def _silent_telemetry(module: ModuleType) -> Iterator[None]:
    yield
    _silence(module)


@contextmanager
def _no_address_probe(module: ModuleType) -> Iterator[None]:
    """Load urllib3 without binding a socket to ``::1``, its test for IPv6; what Python was built with is taken."""
    import socket

    built = socket.has_ipv6
    socket.has_ipv6 = False
    try:
        yield
    finally:
        socket.has_ipv6 = built
    module.HAS_IPV6 = built  # type: ignore[attr-defined]


@contextmanager
def _temporary_cache(module: ModuleType) -> Iterator[None]:
    """Give matplotlib a folder that is removed at exit, unless the user has one for it already."""
    import shutil
    import tempfile

    if "MPLCONFIGDIR" not in os.environ and not any(folder.is_dir() for folder in _matplotlib_folders()):
        folder = tempfile.mkdtemp(prefix="mdcsrn-matplotlib-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder
    yield


def _matplotlib_folders() -> list[Path]:
    """Where matplotlib would keep its settings and its cache."""
    home = Path(os.path.expanduser("~"))  # as it stands where there is no home
    roots = {"XDG_CACHE_HOME": home / ".cache", "XDG_CONFIG_HOME": home / ".config"}
    return [home / ".matplotlib", *(Path(os.environ.get(key) or root) / "matplotlib" for key, root in roots.items())]


AROUND: dict[str, Around] = {
    "openvino_telemetry": _silent_telemetry,
    "urllib3.util.connection": _no_address_probe,
    "matplotlib": _temporary_cache,
}


class _Watch(MetaPathFinder):
    """Finds the modules of :data:`AROUND` by the other finders and runs each inside of its context."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in AROUND:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Watch))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Within(spec.loader, AROUND[fullname])
        return spec


class _Within(Loader):
    """Runs a module as its own loader would, inside of a context; afterwards the module has its own loader."""

    def __init__(self, loader: Loader, around: Around) -> None:
        self.loader = loader
        self.around = around

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.loader
        with self.around(module):
            self.loader.exec_module(module)
