"""Figures of a benchmark as records in a JSON file, beside the text that it prints."""

import argparse
import json
from pathlib import Path


class Figures:
    """Records of one run; the file holds all so far after each."""

    def __init__(self, path: str | None = None):
        self._path, self._records = path, []

    def add(
        self, name: str, value: float, unit: str, peer: float | None = None, higher_is_better: bool = True
    ) -> None:
        """One figure.

        Args:
            name: unique in the run.
            value: of asvtk.
            unit: of both values.
            peer: what the peer reached in the same run, where there is one.
            higher_is_better: a rate, say; False for a time.
        """
        record = {"name": name, "value": value, "unit": unit, "peer": peer}
        self._records.append(record | {"higher_is_better": higher_is_better})
        if self._path:
            Path(self._path).write_text(json.dumps(self._records, indent=1) + "\n")


def add_option(parser: argparse.ArgumentParser) -> None:
    """``--json FILE``; it comes as ``args.figures``, which without it writes nothing."""
    parser.add_argument(
        "--json", dest="figures", type=Figures, default=Figures(), metavar="FILE", help="figures as records"
    )
