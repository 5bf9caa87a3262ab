"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two workers on two cores: one thread each. Set before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

pytest.register_assert_rewrite("hil_fixtures.contracts")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real measurements that lies beside a checkout; they are never copied into it."""
    folder = Path(__file__).parents[1] / ".." / "shared" / "data"
    if not (folder / "README.md").is_file():
        pytest.skip("no real measurements beside this checkout (../shared/data)")
    return folder.resolve()
