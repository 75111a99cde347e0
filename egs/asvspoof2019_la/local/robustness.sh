#!/usr/bin/env bash
# How do trained systems bear codecs, telephone lines, noise and rooms, and do results rest on level, silence
# or bandwidth? Makes degraded copies of eval, scores them by the packed models of finished experiments, and
# prints a table. Run it in a recipe's folder, after stages 1 to 5:
#   local/robustness.sh --tag lfcc_moe_mamba --seeds 1:3
# Killed, the same command goes on where it was; a copy that fails stands in the table, and the others go on.
set -euo pipefail

tag=                     # of the experiment
seeds=                   # 1:3 for TAG_seed1 ...; empty: TAG itself
set=eval
grid=default             # of degradations
changes=                 # these instead of a grid, each a copy
nj=4
score_nj=1
ngpu=0
num_threads=1
datadir=data
expdir=exp
force=false              # make the copies again

help_message="Usage: local/robustness.sh --tag NAME [--option value ...]     (in a recipe's folder)

  --tag NAME            of the experiment, as for run.sh
  --seeds A:B           of its seeds (default: the experiment NAME itself)
  --set NAME            which set is degraded (default: $set)
  --grid FILE.yaml      how (default: what conf/robustness.yaml holds)
  --changes 'NAME ...'  these alone, such as 'level trim mp3:16k' (asvtk perturb --help lists them)
  --nj N                processes that make copies (default: $nj)
  --score-nj N          jobs that score, for each experiment (default: $score_nj)
  --ngpu 0|1 --num-threads N --datadir DIR --expdir DIR    as for run.sh
  --force true          make the copies again (default: $force)

Copies go to DATADIR/SET_robustness, scores to EXPDIR/NAME/robustness, the table to EXPDIR/ROBUSTNESS_TAG.md,
.json and .html. Each copy takes as much room as the set."

printf -v command '%q ' "$0" "$@"        # for the record
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh" --help ;; esac
[[ -e path.sh && -e cmd.sh ]] || misuse "there is no path.sh and cmd.sh here; run it in a recipe's folder"
. ./path.sh
. ./cmd.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check 'tag set grid datadir expdir' '.+' 'a name'
check 'nj score_nj num_threads' "$COUNT" 'a whole number, at least 1'
check ngpu '0|1' '0 or 1'
check_seeds
check_names tag set grid datadir expdir
export ASVTK_COMMAND=${command% }
if [ "$force" = true ]; then again=(--force); else again=(); fi
experiments=()
if [ -n "$seeds" ]; then
    for number in $(seq "${seeds%%:*}" "${seeds##*:}"); do experiments+=("$expdir/${tag}_seed$number"); done
else
    experiments+=("$expdir/$tag")
fi

copies=$datadir/${set}_robustness
hold "$expdir/.$tag.robustness.lock" "$copies.lock"
if [ -n "$changes" ]; then
    grid=$expdir/.$tag.robustness.yaml
    { echo "as asked:"; printf -- '- "%s"\n' $changes; } >"$grid"
fi
for folder in "${experiments[@]}"; do asvtk pack --exp "$folder"; done
log "copies -> $copies"
failed=0
asvtk perturb --data "$datadir/$set" --grid "$grid" --out "$copies" --nj "$nj" "${again[@]}" || failed=$?
[ "$failed" -le 1 ] || exit "$failed" # 1: a copy lacks something, and it has said what
for folder in "${experiments[@]}"; do
    log "scores -> $folder/robustness"
    $decode_cmd --gpu "$ngpu" --num-threads "$num_threads" JOB=1:"$score_nj" "$folder/log/robustness.JOB.log" \
        asvtk robustness score --model "$folder/$(basename "$folder").asvtk.tar" --data "$datadir/$set" \
        --grid "$grid" --copies-in "$copies" --out "$folder/robustness" --job JOB --nj "$score_nj" \
        --ngpu "$ngpu" || failed=1
done
asvtk robustness --exp "${experiments[@]}" --set "$set" --grid "$grid" --out "$expdir/ROBUSTNESS_$tag.md"
log "see $expdir/ROBUSTNESS_$tag.html"
[ "$failed" -eq 0 ] || log "some copies are not whole; the same command tries them again"
exit "$failed"
