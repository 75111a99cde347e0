#!/usr/bin/env bash
# Stage 0: get_corpus.sh NAME FOLDER [true|false]. Looks whether a corpus is there; with true, what is missing is
# downloaded from its publisher, resumed where it was cut off, compared with its MD5 and unpacked.
# ASVTK_CORPUS_URL replaces everything before the files' names, for a mirror of one's own.
set -euo pipefail

name=$1 folder=$2 download=${3:-false}
version=() # the only one of the options of asvtk prepare that says where a corpus is
while [ $# -gt 3 ]; do
    [ "$4" != --version ] || version=(--version "${5-}")
    set -- "$1" "$2" "$3" "${@:5}"
done
# What was begun to be downloaded is gone on with: the corpus may look whole already.
if [ -d "$folder" ] && { [ "$download" != true ] || [ ! -e "$folder/.download" ]; }; then
    if found=$(asvtk corpora find "$name" "$folder" "${version[@]}" 2>/dev/null); then
        echo "corpus: $found"
        exit 0
    fi
fi
files=$(asvtk corpora files "$name") # has said why, if there is no such corpus
if [ "$download" != true ] || [ -z "$files" ]; then
    [ ! -d "$folder" ] || asvtk corpora find "$name" "$folder" "${version[@]}" || true
    {
        echo "$0: '$folder' does not hold $name: give --corpus DIR. Its licence and source: asvtk corpora show $name"
        if [ -z "$files" ]; then
            echo "It has to be got from its publisher by hand."
        else
            echo "With --download true, $(wc -l <<<"$files") files are fetched into $folder."
        fi
        echo "No corpus at hand? The same stages run on a generated one: cd ../mini && ./run.sh"
    } >&2
    exit 1
fi

mkdir -p "$folder/.download"
while read -r md5 url; do
    file=${url##*/} done=$folder/.download/${url##*/}.unpacked
    [ ! -e "$done" ] || continue
    whole=$folder/.download/$file
    [ -z "${ASVTK_CORPUS_URL-}" ] || url=${ASVTK_CORPUS_URL%/}/$file
    if [ ! -e "$whole" ]; then
        echo "$url -> $whole"
        show=--no-progress-meter
        [ ! -t 2 ] || show=--progress-bar
        if ! curl --fail --location $show --retry 5 --retry-delay 2 --continue-at - --output "$whole.part" "$url"; then
            echo "$0: $url: could not be fetched; what came stays in $whole.part, and the next run goes on there" >&2
            exit 1
        fi
        if [ "$md5" = - ]; then
            echo "$file: not compared, as asvtk knows no MD5 of it"
        elif ! md5sum --check --status <<<"$md5  $whole.part"; then
            rm "$whole.part"
            echo "$0: $url: is not the file with the MD5 $md5; it was thrown away: fetch it again" >&2
            exit 1
        fi
        mv "$whole.part" "$whole"
    fi
    echo "unpack $file"
    case $file in
        *.zip) python3 -m zipfile -e "$whole" "$folder" ;;
        *) tar -xf "$whole" -C "$folder" ;;
    esac
    touch "$done"
    rm "$whole"
done <<<"$files"
found=$(asvtk corpora find "$name" "$folder" "${version[@]}")
echo "corpus: $found"
