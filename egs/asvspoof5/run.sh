#!/usr/bin/env bash
# ASVspoof 5, track 1: trained on its training set, chosen on its dev set; or, with --experiment DIR --train-sets ''
# --dev-sets '', finished experiments of any recipe on its eval set.
#   ./run.sh --corpus DIR --config conf/lfcc_moe_mamba.yaml
# All options of ../asvspoof2019_la/run.sh are taken.
set -euo pipefail
cd "$(dirname "$0")"
exec ../asvspoof2019_la/run.sh --database asvspoof5 --train-sets asvspoof5-train --dev-sets asvspoof5-dev \
    --test-sets asvspoof5-eval "$@"
