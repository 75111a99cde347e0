#!/usr/bin/env bash
# Hyper-parameter search: Optuna proposes values of the keys of a search space, run.sh trains each trial with
# several seeds, and the dev EER is what is made small; no test set is looked at. Run it in a recipe's folder:
# local/tune.sh --corpus DIR --config conf/lfcc_moe_mamba.yaml --space conf/tune/lfcc_moe_mamba.yaml
#
# Killed, the same command goes on where it was; a trial that fails stands in the table, and the others go on.
set -euo pipefail

corpus=                  # the LA/ folder of the database
config=conf/lfcc_moe_mamba.yaml
space=                   # its keys with ranges and choices; empty: conf/tune/NAME.yaml for the config NAME.yaml
trials=50
parallel=1               # trials at a time
seeds=1:3                # of each trial
sampler=tpe              # or random, grid
search_seed=1            # of the sampler
train_sets=train
dev_sets=dev
folds=                   # judge by cross-validation on the training set instead of dev
fold_by=speaker          # a NAME of a file utt2NAME; folds share none of its values
nj=4
ngpu=auto
num_threads=1
datadir=data
dumpdir=dump
expdir=                  # empty: exp/tune_NAME for the space NAME.yaml
force=false              # throw away the study and its experiments

help_message="Usage: local/tune.sh [--option value ...]        (in a recipe's folder, such as egs/asvspoof2019_la)

  --corpus DIR          the LA/ folder of the database
  --config FILE.yaml    what is searched around (default: $config)
  --space FILE.yaml     its keys with ranges and choices (default: conf/tune/NAME.yaml for the config NAME.yaml)
  --trials N            in all; more than before goes on from there (default: $trials)
  --parallel N          trials at a time; several small ones fit on one GPU (default: $parallel)
  --seeds A:B           seeds of each trial; the mean of their EERs counts (default: $seeds)
  --sampler tpe|random|grid     what proposes trials (default: $sampler)
  --search-seed N       its seed (default: $search_seed)
  --train-sets 'NAME ...' --dev-sets 'NAME ...'     data directories in $datadir (default: '$train_sets', '$dev_sets')
  --folds K             judge by cross-validation on the training set instead of dev; costs K trainings a seed
  --fold-by COLUMN      folds share no value of it: speaker, or the NAME of a file utt2NAME (default: $fold_by)
  --nj N --ngpu auto|0|N --num-threads N --datadir DIR --dumpdir DIR    as for run.sh
  --expdir DIR          study, experiments, logs, RESULTS.md and best.yaml (default: exp/tune_NAME for the space)
  --force true          throw away the study and its experiments (default: $force)

cmd.sh says where trainings run; needs pip install 'asvtk[tune]'."

printf -v command '%q ' "$0" "$@"        # for the record
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh" --help ;; esac
[[ -e path.sh && -e run.sh ]] || misuse "there is no path.sh and run.sh here; run it in a recipe's folder"
. ./path.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check 'trials parallel nj num_threads' "$COUNT" 'a whole number, at least 1'
check folds '([2-9]|[1-9][0-9])?' 'a number of folds, from 2 to 99'
check ngpu "auto|$WHOLE" 'auto, 0 or a number of GPUs'
check sampler 'tpe|random|grid' 'tpe, random or grid'
check search_seed "$NUMBER" 'a whole number'
check seeds '.+' 'A:B or one number'
check_seeds
check 'config train_sets dev_sets fold_by' '.+' 'a name'
check_names corpus config space train_sets dev_sets fold_by datadir dumpdir expdir
[ -n "$space" ] || space=conf/tune/$(basename "$config" .yaml).yaml
[ -n "$expdir" ] || expdir=exp/tune_$(basename "$space" .yaml)
export ASVTK_COMMAND=${command% }

recipe=(./run.sh ${corpus:+--corpus "$corpus"} --datadir "$datadir" --dumpdir "$dumpdir" --expdir "$expdir"
    --nj "$nj" --ngpu "$ngpu" --num-threads "$num_threads")
search=(asvtk tune --config "$config" --space "$space" --sampler "$sampler" --search-seed "$search_seed")
read -ra train <<<"$train_sets"
read -ra dev <<<"$dev_sets"
if [ -n "$folds" ]; then
    judged=(--folds "$folds" --fold-by "$fold_by")
else
    judged=(--dev-data "${dev[@]/#/$datadir/}")
fi

# A mistake shows now, and not after the corpus was read. Features that all trials share are computed once.
first=$(ask '[23]' "${search[@]}" ${folds:+--folds "$folds"} --check)
"${recipe[@]}" --config "$config" --train-sets "$train_sets" --dev-sets "$dev_sets" --test-sets '' \
    --stop-stage $((first - 1))
[ "$force" = false ] || search+=(--force)
exec "${search[@]}" --trials "$trials" --parallel "$parallel" --seeds "$seeds" --expdir "$expdir" \
    --train-data "${train[@]/#/$datadir/}" "${judged[@]}" \
    -- "${recipe[@]}"
