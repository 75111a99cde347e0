#!/usr/bin/env bash
# Kaldi's combine_data.sh, for data directories with labels; --help tells more.
exec python3 -I "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/datadir/tool.py" combine_data.sh "$@"
