#!/usr/bin/env bash
# Long recordings of bona fide speech with spoofed stretches, made of any data directory, and how well a detector
# finds the stretches. Run it in this folder; ../../docs/partial.md tells what it makes.
#
#   1 make the recordings    2 evaluate what was found (only with --detections)
set -euo pipefail
{ # bash reads to the closing brace before it runs anything: this file may be edited meanwhile

stage=1
stop_stage=2
data=../asvspoof2019_la/data/eval # data directory of both classes
out=data/partial
recordings=100
duration="20 180"                 # least and most seconds of a recording
stretch="0.5 60"                  # of a spoofed stretch
stretches=4                       # most in a recording
bonafide_share=0.3                # of recordings without spoofs
spoof_share=0.1                   # of recordings that are spoofed all through
fade="10 50"                      # least and most milliseconds of a cross-fade
fade_share=0.5                    # of joints that are cross-faded; the others are hard cuts
level=true                        # match the levels of the pieces
seed=1
detections=                       # what asvtk detect wrote of the recordings
nj=4
force=false                       # make again what is there

help_message="Usage: ./run.sh [--option value ...]        (in egs/partial)

  --data DIR            data directory to cut the pieces from (default: $data)
  --out DIR             data directory to write (default: $out)
  --recordings N        how many (default: $recordings)
  --duration 'MIN MAX'  seconds of a recording (default: '$duration')
  --stretch 'MIN MAX'   seconds of a spoofed stretch (default: '$stretch')
  --stretches N         most in a recording (default: $stretches)
  --bonafide-share R --spoof-share R    shares of recordings that are wholly so (default: $bonafide_share, $spoof_share)
  --fade 'MIN MAX'      milliseconds of a cross-fade (default: '$fade')
  --fade-share R        share of joints that are cross-faded, not cut (default: $fade_share)
  --level false         leave the levels of the pieces as they are (default: $level)
  --seed N              of all that is drawn (default: $seed)
  --detections FILE     what asvtk detect wrote of the recordings, one JSON object a line: evaluate it
  --stage N --stop-stage N              which stages (default: $stage to $stop_stage)
  --nj N                processes; the recordings do not depend on it (default: $nj)
  --force true          make again what is there (default: $force)"

printf -v ASVTK_COMMAND '%q ' "$0" "$@"
export ASVTK_COMMAND=${ASVTK_COMMAND% }
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh" # log, check, hold
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh" --help ;; esac
[ -e path.sh ] || misuse "there is no path.sh here; run it in its folder: cd egs/partial"
. ./path.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check 'stage stop_stage' "$WHOLE" 'a whole number, such as 1'
check 'nj recordings stretches' "$COUNT" 'a whole number, at least 1'
check 'data out' '.+' 'a name'
read -ra durations <<<"$duration"
read -ra lengths <<<"$stretch"
read -ra fades <<<"$fade"
again=() as_is=()
[ "$force" = false ] || again=(--force)
[ "$level" = true ] || as_is=(--no-level)

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
    log "stage 1: recordings -> $out"
    [ -e "$data/wav.scp" ] || misuse "--data ${data@Q}: no data directory there; run stage 1 of" \
        "../asvspoof2019_la, or name a directory with bona fide speech and spoofs"
    hold "$(dirname "$out")/log/.splice_$(basename "$out").lock"
    asvtk splice --data "$data" --out "$out" --recordings "$recordings" --duration "${durations[@]}" \
        --stretch "${lengths[@]}" --stretches "$stretches" --bonafide-share "$bonafide_share" \
        --spoof-share "$spoof_share" --fade "${fades[@]}" --fade-share "$fade_share" --seed "$seed" --nj "$nj" \
        "${as_is[@]}" "${again[@]}"
    asvtk validate "$out"
fi

if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ] && [ -n "$detections" ]; then
    log "stage 2: evaluate $detections"
    asvtk evaluate --rttm "$out/segments.rttm" --detections "$detections" --json "${detections%.jsonl}.results.json"
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
exit
}
