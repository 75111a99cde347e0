#!/usr/bin/env bash
# Make the corpus of this recipe: local/get_corpus.sh CORPUS_DIR NJ, called from egs/mini.
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: local/get_corpus.sh CORPUS_DIR NJ" >&2
  exit 2
fi

echo "Generating a corpus in the layout of ASVspoof 2019 LA in $1 (espeak-ng voices, classic vocoders; $2 jobs)"
echo "This corpus exercises the recipe; its bona fide is itself synthetic, so its results say nothing about human speech."
python3 "$(dirname "$0")/generate_corpus.py" "$1" --jobs "$2"
