# shellcheck shell=bash
# Turn a bash script's command line into that script's own variables.
#
#   nj=4                        # 1. the script declares every option with its default
#   skip_train=false            #    (a default of true or false makes the option a switch)
#   help_message="Usage: $0 [--nj 4] [--skip-train false] DATA"
#   . utils/parse_options.sh    # 2. it sources this file
#   data=$1                     # 3. "$@" now holds what follows the options
#
# --skip-train true and --skip_train true both set skip_train. The first word without leading dashes
# ends the options. --help and -h print $help_message. --config F sources the shell file F before any
# option is applied, so the command line wins; but an F ending in .yaml, .yml or .json is an
# experiment's configuration, and just becomes the value of the script's variable `config`.
#
# Which variables may be set: those that exist already and whose name is a lower case letter followed by
# lower case letters, digits and _. PATH, IFS, HOME and nearly everything that is exported is upper case
# and therefore out of reach. Values are only ever assigned, never evaluated. Names of this file start
# with _po_, which the same rule protects, and are gone at the end.
#
# Safe under `set -euo pipefail`; bash >= 4.4.

_po_die() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 1
}

# Does this option name a variable of the script? Leaves the variable's name in _po_name. The letters are
# spelt out because a range such as a-z holds capitals in some locales.
_po_declared() {
    _po_name=${1#--}
    _po_name=${_po_name//-/_}
    case $_po_name in
        '' | [!abcdefghijklmnopqrstuvwxyz]* | *[!abcdefghijklmnopqrstuvwxyz0123456789_]*) return 1 ;;
    esac
    [[ -n ${!_po_name+x} ]]
}

# Is this pair of words a shell file of defaults (and not a configuration that is data)?
_po_sources() {
    [[ $1 == --config && $2 != *.yaml && $2 != *.yml && $2 != *.json ]]
}

# First walk: the shell files only. It stops wherever the second one will stop or complain.
_po_at=1
while ((_po_at < $#)); do
    _po_next=$((_po_at + 1))
    case ${!_po_at} in
        --help | --*=*) break ;;
        --*) ;;
        *) break ;;
    esac
    if _po_sources "${!_po_at}" "${!_po_next}"; then
        _po_file=${!_po_next}
        [[ -r $_po_file && ! -d $_po_file ]] || _po_die "missing config '$_po_file' (--config)"
        # Without a slash bash would look along PATH first.
        [[ $_po_file == */* ]] || _po_file=./$_po_file
        # shellcheck source=/dev/null
        . "$_po_file" || _po_die "config '$_po_file' (--config) failed"
    fi
    _po_at=$((_po_at + 2))
done

# Second walk: the options.
while (($# > 0)); do
    case $1 in
        --help | -h)
            # %b: a help text may be written with \n, and a percent sign in it stays one.
            printf '%b\n' "${help_message:-$0: no help text}" >&2
            exit 0
            ;;
        --*=*) _po_die "an option and its value are two words, --name value; got '$1'" ;;
        --*) ;;
        *) break ;;
    esac
    if (($# >= 2)) && _po_sources "$1" "$2"; then
        shift 2
        continue
    fi
    # --config is known to every script, whether or not it declares the variable.
    if ! _po_declared "$1" && [[ $1 != --config || $# -ge 2 ]]; then
        _po_die "invalid option $1"
    fi
    (($# >= 2)) || _po_die "option $1 needs a value"
    # `--nj --stage 3` has lost its value: taking --stage for it would run with 3 as a positional.
    # (A value that truly is such a word can be given with a leading space.)
    if [[ $2 == --help ]] || { [[ $2 == --* ]] && _po_declared "$2"; }; then
        _po_die "option $1 needs a value; got the option $2"
    fi

    _po_declared "$1"
    if [[ ${!_po_name} == true || ${!_po_name} == false ]] && [[ $2 != true && $2 != false ]]; then
        _po_die "expected \"true\" or \"false\": $1 $2"
    fi
    case ${!_po_name@a} in
        *r*) _po_die "option $1 cannot be set: the script declares $_po_name read-only" ;;
        # bash evaluates what is assigned to a `declare -i` variable, even commands inside it.
        *i*) [[ $2 =~ ^-?[0-9]+$ ]] || _po_die "expected an integer: $1 $2" ;;
    esac
    if [[ -z $2 ]] && [[ $_po_name == cmd || $_po_name == *_cmd ]]; then
        _po_die "empty argument to $1 option"
    fi
    printf -v "$_po_name" '%s' "$2"
    shift 2
done

# An empty cmd, whoever set it, would make `$cmd LOG python ...` run the log as a program.
[[ -n ${cmd-unset} ]] || _po_die "empty argument to --cmd option"

unset _po_at _po_next _po_file _po_name
unset -f _po_die _po_declared _po_sources
