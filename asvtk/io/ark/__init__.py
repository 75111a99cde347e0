r"""Kaldi archives of matrices: our own writer and reader.

An entry of an ark is ``key``, a space, and a matrix of kind FM, CM2 or CM (see ``matrices``), which
begins with ``\0B``. A line of the scp is ``key file.ark:OFFSET``, where the offset points at ``\0``.
Kaldi and kaldiio read these files.

Why our own: kaldiio unpickles what an ark tells it to, runs pipes found in scp files, opens a file for
every matrix, and returns short vectors without a word. Here only matrices are read, with ``pread`` (no
shared position: any number of threads and forked workers), and only whole ones. Arks that other programs
wrote, of kinds that are not ours, are for ``foreign`` and ``asvtk cache import``; there kaldiio decodes.
"""

from asvtk.io.ark.matrices import Encoded, as_stored, encode_matrix, entry_size
from asvtk.io.ark.reader import MatrixReader, StoredMatrices
from asvtk.io.ark.scp import parse_scp_line, read_scp
from asvtk.io.ark.writer import ArkWriter

__all__ = [
    "ArkWriter",
    "Encoded",
    "MatrixReader",
    "StoredMatrices",
    "as_stored",
    "encode_matrix",
    "entry_size",
    "parse_scp_line",
    "read_scp",
]
