#!/usr/bin/env bash
# Does a result rest on level, silence or bandwidth? Scores copies of eval that lack them, by the packed
# models of finished experiments, and prints a table. Run it in a recipe's folder, after stages 1 to 5:
#   local/robustness.sh --tag lfcc_moe_mamba --seeds 1:3
set -euo pipefail

tag=                     # of the experiment
seeds=                   # 1:3 for TAG_seed1 ...; empty: TAG itself
set=eval
changes="level trim lowpass"
nj=4
ngpu=0
num_threads=1
datadir=data
expdir=exp
force=false              # make the copies again

help_message="Usage: local/robustness.sh --tag NAME [--option value ...]     (in a recipe's folder)

  --tag NAME            of the experiment, as for run.sh
  --seeds A:B           of its seeds (default: the experiment NAME itself)
  --set NAME            which set is changed (default: $set)
  --changes 'NAME ...'  how (default: $changes; asvtk perturb --help)
  --nj N --ngpu 0|1 --num-threads N --datadir DIR --expdir DIR    as for run.sh
  --force true          make the copies again (default: $force)"

printf -v command '%q ' "$0" "$@"        # for the record
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/recipe.sh"
case " $* " in *" --help "* | *" -h "*) . "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh" --help ;; esac
[[ -e path.sh && -e cmd.sh ]] || misuse "there is no path.sh and cmd.sh here; run it in a recipe's folder"
. ./path.sh
. ./cmd.sh
. parse_options.sh
[ $# -eq 0 ] || misuse "${1@Q}: not an option; --help lists them"
check 'tag set changes datadir expdir' '.+' 'a name'
check 'nj num_threads' "$COUNT" 'a whole number, at least 1'
check ngpu "$WHOLE" '0 or 1'
check_seeds
check_names tag set datadir expdir
export ASVTK_COMMAND=${command% }
if [ "$force" = true ]; then again=(--force); else again=(); fi
# As in run.sh, SEED stands for each of several seeds in the launcher's JOB=1:n manner.
if [ -n "$seeds" ]; then range=("SEED=$seeds") name=${tag}_seedSEED; else range=() name=$tag; fi
experiments=()
for number in $(seq "${seeds%%:*}" "${seeds##*:}" 2>/dev/null || echo SEED); do
    experiments+=("$expdir/${name//SEED/$number}")
done

for folder in "${experiments[@]}"; do asvtk pack --exp "$folder"; done
copies=()
for change in $changes; do
    copy=${set}_$change
    asvtk perturb --data "$datadir/$set" --how "$change" --nj "$nj" "${again[@]}"
    $decode_cmd --gpu "$ngpu" --num-threads "$num_threads" "${range[@]}" "$expdir/$name/log/$copy.log" \
        asvtk score --model "$expdir/$name/$name.asvtk.tar" --data "$datadir/$copy" \
        --out "$expdir/$name/robustness/$copy.txt" --ngpu "$ngpu"
    copies+=("$copy")
done
asvtk robustness --exp "${experiments[@]}" --set "$set" --copies "${copies[@]}" --out "$expdir/ROBUSTNESS_$tag.md"
