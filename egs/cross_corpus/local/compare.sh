#!/usr/bin/env bash
# Front-ends and back-ends side by side: trains every system of a list with several seeds, on one corpus and on
# several, and prints EER by test set, parameters and cost, and which system dev would choose. Run it in this recipe:
#   local/compare.sh --corpora corpora.local.yaml --ngpu 1 --parallel 6
# It goes on where it was, as local/ablations.sh of ../asvspoof2019_la does, which trains the systems.
set -euo pipefail

corpora=corpora.yaml
list=conf/compare/small.yaml            # sections: front-ends; cells: systems
one_train='la19-train' one_dev='la19-dev'
all_train='la19-train wild-train' all_dev='la19-dev wild-dev'
test_sets='la19-eval itw-eval wild-test'
systems=                                # only these, such as "aasist whisper_sls"; empty: all
seeds=1:3
parallel=1
nj=4
ngpu=auto
num_threads=1
datadir=data
dumpdir=dump
expdir=exp/compare
force=false

help_message="Usage: local/compare.sh [--option value ...]        (in egs/cross_corpus)

  --corpora FILE.yaml   which corpora there are, and where (default: $corpora)
  --list FILE.yaml      systems (default: $list)
  --systems 'NAME ...'  only these (default: all)
  --one-train 'NAME ...' --one-dev 'NAME ...'     the first condition: one corpus ('$one_train', '$one_dev')
  --all-train 'NAME ...' --all-dev 'NAME ...'     the second: several ('$all_train', '$all_dev')
  --test-sets 'NAME ...'                          of both ('$test_sets')
  --seeds A:B           seeds of each system (default: $seeds)
  --parallel N          systems at a time, spread over the GPUs; several fit on one (default: $parallel)
  --nj N --ngpu auto|0|N --num-threads N --datadir DIR --dumpdir DIR    as for run.sh
  --expdir DIR          experiments, logs and RESULTS.md (default: $expdir)
  --force true          train again what is finished (default: $force)"

printf -v command '%q ' "$0" "$@"        # for the record
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh" --help ;; esac
[[ -e path.sh && -e run.sh ]] || misuse "there is no path.sh and run.sh here; run it in egs/cross_corpus"
. ./path.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check_seeds # the other values are checked where they are used

failed=0
for condition in one all; do
    train=${condition}_train dev=${condition}_dev
    log "trained on ${!train}"
    ../asvspoof2019_la/local/ablations.sh --corpora "$corpora" --list "$list" --cells "$systems" --seeds "$seeds" \
        --train-sets "${!train}" --dev-sets "${!dev}" --test-sets "$test_sets" --parallel "$parallel" \
        --nj "$nj" --ngpu "$ngpu" --num-threads "$num_threads" --datadir "$datadir" --dumpdir "$dumpdir" \
        --expdir "$expdir/$condition" --force "$force" || failed=$?
    [ "$failed" -le 1 ] || exit "$failed"
done

log "tables -> $expdir/RESULTS.md"
export ASVTK_COMMAND=${command% }
asvtk ablations systems "$list" "$expdir" --seeds "$seeds" --trained "$one_train=one" "$all_train=all" \
    --cells $systems --note "$parallel systems at a time."
exit "$failed"
