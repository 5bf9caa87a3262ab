"""No inverse crime: the simulated world makes its signal with nothing that reconstructs or predicts it."""

from __future__ import annotations

import json
import subprocess
import sys

#: What reconstructs, predicts or measures, and the transforms it is made with.
FORBIDDEN = ("recon", "coils", "acquisition", "drivers", "finufft", "ducc0")
LIST_MODULES = """
import importlib, json, pkgutil, sys
import hil_fixtures.{package} as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(package: str) -> set[str]:
    """Return every module that is loaded with all modules of a package, in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES.format(package=package)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_the_world_needs_no_reconstruction_and_no_gridding() -> None:
    """Not even indirectly: an interpreter that holds all of the physics holds none of them."""
    loaded = loaded_by("physics")
    assert "hil_fixtures.physics.kspace" in loaded
    assert not {name for name in loaded if name.split(".")[0] in FORBIDDEN}


def test_simulated_instruments_need_no_driver() -> None:
    """Nor what plans, predicts or reconstructs a scan."""
    loaded = loaded_by("instruments")
    assert "hil_fixtures.instruments.lab" in loaded
    assert not {name for name in loaded if name.split(".")[0] in FORBIDDEN}
