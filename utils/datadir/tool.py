"""Runs one of the tools: tool.py NAME words..., as utils/*.sh call it, with python3 -I.

-I keeps this folder off the module path, where the tools' names would hide modules of Python's own.
"""

import importlib
import sys
from pathlib import Path

# The library of this very checkout, installed or not; its asvtk.io needs nothing but Python.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asvtk.io.errors import AsvtkError
from datadir.command import Usage

MODULES = {
    "validate_data_dir.sh": "validate",
    "fix_data_dir.sh": "fix",
    "split_data.sh": "split",
    "subset_data_dir.sh": "subset",
    "copy_data_dir.sh": "copy",
    "combine_data.sh": "combine",
}


def main(program: str, words: list[str]) -> int:
    """Returns the exit status. A user's mistake is one line and status 1."""
    module = importlib.import_module(f"datadir.{MODULES[program]}")
    if "--help" in words or "-h" in words:
        print(module.__doc__.strip())
        return 0
    try:
        return module.main(words) or 0
    except Usage as error:
        print(f"{program}: {error}; --help tells more", file=sys.stderr)
    except AsvtkError as error:
        print(f"{program}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
