#!/usr/bin/env bash
# What the parts of the systems are worth: trains every cell of a list with several seeds, by run.sh, and
# prints a table. Run it in a recipe's folder: local/ablations.sh --corpus DIR --small true
#
# A cell is a configuration and what it changes (conf/ablations/*.yaml). Killed, the same command goes on
# where it was; a cell that fails stands in the table, and the others go on.
set -euo pipefail

corpus=                  # the LA/ folder of the database
corpora=                 # several databases and tables instead, and what is trained and tested on; as for run.sh
train_sets=
dev_sets=
test_sets=
small=false              # small front-ends and systems, for a few hundred clips
list=                    # of cells; empty: conf/ablations/full.yaml, or small.yaml
cells=                   # only these, such as "S3 S3_dense"; empty: all
seeds=1:3
parallel=1               # cells at a time
nj=4
ngpu=auto
num_threads=1
datadir=data
dumpdir=dump
expdir=                  # empty: exp/ablations_NAME for the list NAME.yaml
force=false              # train again what is finished

help_message="Usage: local/ablations.sh [--option value ...]        (in a recipe's folder, such as egs/asvspoof2019_la)

  --corpus DIR          the LA/ folder of the database
  --corpora FILE.yaml --train-sets 'NAME ...' --dev-sets 'NAME ...' --test-sets 'NAME ...'    as for run.sh
  --small true          the small set: no weights to download, some minutes a cell on two CPU cores
  --list FILE.yaml      another list of cells (default: conf/ablations/full.yaml, or small.yaml)
  --cells 'NAME ...'    only these cells (default: all)
  --seeds A:B           seeds of each cell (default: $seeds)
  --parallel N          cells at a time, spread over the GPUs; several fit on one (default: $parallel)
  --nj N --ngpu auto|0|N --num-threads N --datadir DIR --dumpdir DIR    as for run.sh
  --expdir DIR          experiments, logs and RESULTS.md (default: exp/ablations_NAME for the list NAME.yaml)
  --force true          train again what is finished (default: $force)"

printf -v command '%q ' "$0" "$@"        # for the record
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh" --help ;; esac
[[ -e path.sh && -e cmd.sh && -e run.sh ]] || misuse "there is no path.sh, cmd.sh and run.sh here; run it in a recipe's folder"
. ./path.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check 'parallel nj num_threads' "$COUNT" 'a whole number, at least 1'
check ngpu "auto|$WHOLE" 'auto, 0 or a number of GPUs'
check seeds '.+' 'A:B or one number'
check_seeds
check_names corpus corpora train_sets dev_sets test_sets list datadir dumpdir expdir
if [ -z "$list" ]; then
    if [ "$small" = true ]; then list=conf/ablations/small.yaml; else list=conf/ablations/full.yaml; fi
fi
[ -n "$expdir" ] || expdir=exp/ablations_$(basename "$list" .yaml)
untrained=dump/untrained_wavlm   # what conf/ablations/cascade_mamba_small.yaml names; made when it is needed

of_corpus=()
for name in corpus corpora train_sets dev_sets test_sets; do
    [ -z "${!name}" ] || of_corpus+=("--${name//_/-}" "${!name}")
done

# The recipe, for all cells alike.
recipe() {
    ./run.sh "${of_corpus[@]}" --datadir "$datadir" --dumpdir "$dumpdir" --expdir "$expdir" \
        --nj "$nj" --ngpu "$ngpu" --num-threads "$num_threads" --force "$force" "$@" </dev/null
}

# What the result of a cell depends on.
basis() {
    local sets=(${train_sets:-train} ${dev_sets:-dev} ${test_sets:-eval})
    sets=("${sets[@]/#/$datadir/}")
    cat "$expdir/conf/$1.yaml" "${sets[@]/%//utt2md5}" <(echo "$seeds" "${sets[@]}") | sha256sum
}

# On this machine each cell has all GPUs, the first of them another one for each cell; run.py takes them in order.
. ./cmd.sh
gpus=()
if [[ $cuda_cmd = run.p[ly]* ]]; then
    IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES-$(seq -s , 0 $(($(run.py --count-gpus) - 1)))}"
fi
turn_gpus() {
    [ "${#gpus[@]}" -gt 1 ] || return 0
    gpus=("${gpus[@]:1}" "${gpus[0]}")
    CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${gpus[*]}")
    export CUDA_VISIBLE_DEVICES
}

train_cell() {
    local cell=$1 began=$SECONDS
    if recipe --config "$expdir/conf/$cell.yaml" --tag "$cell" --seeds "$seeds" --stage 3 --stop-stage 5 \
        &>"$expdir/log/$cell.log"; then
        basis "$cell" >"$expdir/done/$cell"
        log "$cell: finished after $((SECONDS - began)) s"
    else
        log "$cell: failed, log is in $expdir/log/$cell.log: $(grep -h 'error:' "$expdir/log/$cell.log" | tail -n 1)"
    fi
}

mkdir -p "$expdir"/{conf,done,log}
asvtk ablations configs "$list" "$expdir/conf" --cells $cells >"$expdir/cells"
recipe --config "$expdir/conf/$(head -n 1 "$expdir/cells" | cut -d ' ' -f 1).yaml" --stop-stage 1 --force false

todo=()
declare -A features                     # front-end -> ready or failed
while read -r cell frontend; do
    if [ "$force" != true ] && [ "$(basis "$cell")" = "$(cat "$expdir/done/$cell" 2>/dev/null)" ]; then
        log "$cell: finished already"
        continue
    fi
    rm -f "$expdir/done/$cell"
    if [ -z "${features[$frontend]:-}" ]; then
        log "$cell: features"
        if grep -q "model: $untrained\$" "$expdir/conf/$cell.yaml" && [ ! -e "$untrained/config.json" ]; then
            python3 local/untrained_ssl.py "$untrained"
        fi
        if recipe --config "$expdir/conf/$cell.yaml" --stage 1 --stop-stage 2 --force false \
            &>"$expdir/log/$cell.log"; then
            features[$frontend]=ready
        else
            features[$frontend]=$expdir/log/$cell.log
        fi
    fi
    if [ "${features[$frontend]}" = ready ]; then
        todo+=("$cell")
    else
        log "$cell: failed, its features are not to be had, log is in ${features[$frontend]}"
        [ -e "$expdir/log/$cell.log" ] || echo "see ${features[$frontend]}" >"$expdir/log/$cell.log"
    fi
done <"$expdir/cells"

# Each cell in a process group of its own, so that Ctrl-C ends all that it started.
set -m
trap 'for group in $(jobs -p); do kill -- "-$group" 2>/dev/null || true; done; wait; exit 130' INT TERM
for cell in "${todo[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$parallel" ]; do wait -n || true; done
    log "$cell: train, score, evaluate; $expdir/log/$cell.log"
    turn_gpus
    train_cell "$cell" &
done
wait
set +m

log "table -> $expdir/RESULTS.md"
export ASVTK_COMMAND=${command% }
asvtk ablations table "$list" "$expdir" --seeds "$seeds" --cells $cells --note "$parallel cells at a time."
failed=0
while read -r cell _; do [ -e "$expdir/done/$cell" ] || failed=$((failed + 1)); done <"$expdir/cells"
[ "$failed" -eq 0 ] || log "$failed cells failed; the same command tries them again"
[ "$failed" -eq 0 ]
