"""The tiny pair of different architectures, written once per run; read it, do not change it."""

from pathlib import Path

import pytest
from slots import Pair, make_pair


@pytest.fixture(scope="session")
def heterogeneous(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder: Path = tmp_path_factory.mktemp("heterogeneous")
    return make_pair(folder)
