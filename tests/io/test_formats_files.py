"""Files that cannot be opened or written: rows of the table "Damage and the file system" of docs/inputs.md."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdcsrn.errors import DataError, OutputError
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.formats import read_image


def test_row_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"cannot open {tmp_path}.*directory.*remedy"):
        read_image(tmp_path)


def test_row_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*absent\.nii.*remedy"):
        read_image(tmp_path / "absent.nii")


def as_nobody(code: str, *arguments: Path) -> str:
    """Output of `code` run by a user without rights: the calling one, or, for root, one without a name."""
    imports, rest = code.split("try:")
    drop = "import os, sys\nif os.getuid() == 0: os.setgid(65534), os.setuid(65534)\n"  # once all is imported
    command = [sys.executable, "-c", f"{imports}{drop}try:{rest}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that another user may enter (pytest's own are private)."""
    for place in (tmp_path, *tmp_path.parents):
        if place.owner() != Path.home().owner() or place.stat().st_mode & 0o005 == 0o005:
            break
        place.chmod(0o755)
    return tmp_path


READ = """
from mdcsrn.errors import MdcsrnError
from mdcsrn.io.formats import read_image
try: read_image(sys.argv[1])
except MdcsrnError as error: print(type(error).__name__, error)
"""


WRITE = """
import numpy as np
from mdcsrn.errors import MdcsrnError
from mdcsrn.io import Volume, write_volume
try: write_volume(Volume(np.arange(60.).reshape(3, 4, 5), np.eye(4)), sys.argv[1])
except MdcsrnError as error: print(type(error).__name__, error)
"""


def test_row_no_permission(open_folder: Path, save_nifti: Callable) -> None:
    path = save_nifti(open_folder / "secret.nii.gz")
    path.chmod(0)
    said = as_nobody(READ, path)
    assert said.startswith(f"DataError cannot open {path}")
    assert "Permission denied" in said
    assert "remedy" in said


def test_row_no_permission_to_write(open_folder: Path) -> None:
    folder = open_folder / "closed"
    folder.mkdir(mode=0o555)
    said = as_nobody(WRITE, folder / "a.nii.gz")
    assert said.startswith(f"OutputError cannot write {folder / 'a.nii.gz'}")
    assert "Permission denied" in said
    assert not list(folder.iterdir())


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from mdcsrn.errors import OutputError
from mdcsrn.io import Volume, write_volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try: write_volume(Volume(np.random.default_rng(0).random((40, 40, 40)), np.eye(4)), sys.argv[1])
except OutputError as error: print(error)
"""


def test_row_file_too_large_for_its_quota(tmp_path: Path, array: np.ndarray, oblique: np.ndarray) -> None:
    old = write_volume(Volume(array, oblique), tmp_path / "a.nii.gz").read_bytes()
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.nii.gz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"cannot write {tmp_path / 'a.nii.gz'}" in said
    assert os.strerror(errno.EFBIG) in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == old


def test_row_full_disk(tmp_path: Path, array: np.ndarray, oblique: np.ndarray) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small disk needs root; the quota test beside this one runs for everyone")
    try:
        old = write_volume(Volume(array, oblique), disk / "a.nii.gz").read_bytes()
        large = Volume(np.random.default_rng(0).random((40, 40, 40)).astype(np.float32), oblique)
        with pytest.raises(OutputError, match=r"cannot write .*a\.nii\.gz.*No space left.*remedy.*free space"):
            write_volume(large, disk / "a.nii.gz")
        assert [entry.name for entry in disk.iterdir()] == ["a.nii.gz"]
        assert (disk / "a.nii.gz").read_bytes() == old
    finally:
        subprocess.run(["umount", str(disk)], check=True)
