"""The error family: messages, exit codes, the way through processes and wrappers."""

from __future__ import annotations

import copy
import pickle

import pytest
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset

from mdcsrn import errors
from mdcsrn.errors import DataError, GeometryError, MdcsrnError, root_error

FAMILY = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MdcsrnError)]


def test_message_says_what_got_allowed_and_remedy():
    error = DataError("a.nii.gz is 4D", got=(4, 5, 6, 7), allowed="3D", remedy="split it")
    assert str(error) == "a.nii.gz is 4D | got: (4, 5, 6, 7) | allowed: 3D | remedy: split it"
    assert str(DataError("plain")) == "plain"
    assert "got: 0" in str(DataError("zero is a value", got=0))


def test_exit_codes():
    codes = {kind.__name__: kind.exit_code for kind in FAMILY}
    assert codes == {
        "MdcsrnError": 1, "DataError": 3, "GeometryError": 3, "ConfigError": 4, "CheckpointError": 5,
        "TrainingError": 6, "OutputError": 7, "MissingDependencyError": 8, "RefusedError": 9,
    }  # fmt: skip
    assert issubclass(GeometryError, DataError)


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_pickle_keeps_everything(kind, again):
    error = again(kind("what", got=1, allowed="2", remedy="3"))
    assert type(error) is kind
    assert (error.what, error.got, error.allowed, error.remedy) == ("what", 1, "2", "3")
    assert str(error) == "what | got: 1 | allowed: 2 | remedy: 3"


def fail(_):
    raise GeometryError("b.nii.gz has a singular affine")


def test_root_error_behind_monai():
    with pytest.raises(RuntimeError) as caught:
        Compose([fail])(1)
    assert not isinstance(caught.value, MdcsrnError)
    assert isinstance(root_error(caught.value), GeometryError)


def test_root_error_is_the_innermost():
    outer, middle = errors.TrainingError("outer"), RuntimeError("foreign")
    outer.__cause__, middle.__context__ = middle, DataError("inner")
    assert root_error(outer).what == "inner"


def test_root_error_of_foreign_and_circular_chains():
    assert root_error(None) is None
    assert root_error(ValueError("foreign")) is None
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert root_error(first) is None


class Broken(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise DataError("c.nii.gz cannot be read", got=index)


def test_error_crosses_a_loader_worker():
    with pytest.raises(DataError, match=r"c\.nii\.gz cannot be read"):
        list(DataLoader(Broken(), num_workers=1))
