#!/usr/bin/env bash
# In-the-Wild: finished experiments of any recipe are scored and evaluated on it; nothing is trained.
#   ./run.sh --corpus DIR/release_in_the_wild --experiment '../asvspoof2019_la/exp/TAG_seed1 ../asvspoof2019_la/exp/TAG_seed2'
# All options of ../asvspoof2019_la/run.sh are taken.
set -euo pipefail
cd "$(dirname "$0")"
exec ../asvspoof2019_la/run.sh --database in_the_wild --train-sets '' --dev-sets '' --test-sets in_the_wild-eval "$@"
