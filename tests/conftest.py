"""What all tests share."""

import os
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("asvtk", deadline=None)
hypothesis.settings.load_profile("asvtk")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real score files, speech and published weights, which is no part of the repository."""
    folder = Path(os.environ.get("ASVTK_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "oracles" / "expected.json").exists():
        pytest.skip(f"no shared data in {folder}; set ASVTK_SHARED_DATA")
    return folder
