#!/usr/bin/env bash
# Stage 0: get_corpus.sh CORPUS NJ. The database is free, but nobody's to pass on: check that it is there.
set -euo pipefail

corpus=$1
for folder in "$corpus" "$corpus/LA"; do
    if [ -n "$corpus" ] && [ -d "$folder/ASVspoof2019_LA_cm_protocols" ]; then
        echo "corpus: $folder"
        exit 0
    fi
done
cat >&2 <<EOF
$0: '$corpus' holds no ASVspoof2019_LA_cm_protocols/. Give --corpus DIR, the LA/ folder of the database.
To get it: download LA.zip (7.1 GB) from https://doi.org/10.7488/ds/2555 and unzip it; DIR is then .../LA.
No corpus at hand? The same stages run on a generated one: cd ../mini && ./run.sh
EOF
exit 1
