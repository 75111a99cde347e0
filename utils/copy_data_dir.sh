#!/usr/bin/env bash
# Kaldi's copy_data_dir.sh, for data directories with labels; --help tells more.
exec python3 -I "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/datadir/tool.py" copy_data_dir.sh "$@"
