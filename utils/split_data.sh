#!/usr/bin/env bash
# Kaldi's split_data.sh, for data directories with labels; --help tells more.
exec python3 -I "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/datadir/tool.py" split_data.sh "$@"
