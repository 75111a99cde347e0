#!/usr/bin/env bash
# Train on a list of corpora, test on a list of corpora; corpora.yaml says where they are.
#   ./run.sh --corpora corpora.yaml --train-sets 'la19-train wild-train' --dev-sets 'la19-dev wild-dev' \
#       --test-sets 'la19-eval itw-eval wild-test'
# All options of ../asvspoof2019_la/run.sh are taken.
set -euo pipefail
cd "$(dirname "$0")"
exec ../asvspoof2019_la/run.sh --corpora corpora.yaml --train-sets 'la19-train wild-train' \
    --dev-sets 'la19-dev wild-dev' --test-sets 'la19-eval itw-eval wild-test' "$@"
