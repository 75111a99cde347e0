#!/usr/bin/env bash
# ASVspoof 2021 LA, DF or PA: finished experiments of any recipe are scored and evaluated on it; nothing is trained.
#   ./run.sh --part df --corpus DIR --experiment ../asvspoof2019_la/exp/TAG
# All options of ../asvspoof2019_la/run.sh are taken. Results are of the official subset eval; for another one:
#   ./run.sh --part la ... --database-options '--sets progress' --test-sets asvspoof2021_la-progress
set -euo pipefail
cd "$(dirname "$0")"
part=la
if [ "${1-}" = --part ]; then
    part=${2-}
    shift 2
fi
case $part in
    la | df | pa) ;;
    *) echo "$0: --part $part: expected la, df or pa, before all other options" >&2 && exit 2 ;;
esac
exec ../asvspoof2019_la/run.sh --database "asvspoof2021_$part" --train-sets '' --dev-sets '' \
    --test-sets "asvspoof2021_$part-eval" "$@"
