"""Files for weights."""

from pathlib import Path

import pytest

from .states import SUFFIXES, in_format


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """For what is about .npz files, which NumPy writes as well."""
    return tmp_path / "w.npz"


@pytest.fixture(params=SUFFIXES)
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """For what is so in every format."""
    return tmp_path / in_format(request.param)
