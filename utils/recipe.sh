# shellcheck shell=bash
# What the scripts of a recipe share: messages, checks of options, answers of commands, locks between runs.
# A script sources this file first, and path.sh and parse_options.sh where it is run in a recipe's folder.

log() { printf '%(%Y-%m-%dT%H:%M:%S)T %s\n' -1 "$*"; }

# Ends with a usage error.
misuse() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 2
}

# check 'NAME ...' PATTERN WORDS: the values of these options match, or they are a usage error that says
# WORDS. The usual patterns stand below; capitals, because options set variables in small letters.
check() {
    local name value
    for name in $1; do
        value=${!name}
        [[ $value =~ ^($2)$ ]] || misuse "--${name//_/-} ${value@Q}: expected $3"
    done
}
WHOLE='0|[1-9][0-9]{0,5}'
COUNT='[1-9][0-9]{0,5}'
NUMBER='0|[1-9][0-9]{0,8}'

# check_seeds: $seeds is empty, A or A:B, with A not above B, and no more than a thousand.
check_seeds() {
    check seeds "(($NUMBER)(:($NUMBER))?)?" 'A:B or one number'
    [ -n "$seeds" ] || return 0
    local last=$((${seeds##*:} - ${seeds%%:*}))
    ((0 <= last && last < 1000)) || misuse "--seeds $seeds: expected A:B, A not above B, at most 1000 seeds"
}

# check_names NAME ...: these options can stand in command lines of jobs. Launchers hand them to a shell, and
# replace JOB and SEED in them by numbers.
check_names() {
    local name
    for name in "$@"; do
        [[ ! ${!name} =~ [][{}\(\)\&\;\<\>\|\$\`\"\'\*\?\\\#\~[:cntrl:]]|JOB|SEED|^- ]] || misuse "--$name" \
            "${!name@Q}: brackets, quotes, other characters of the shell, JOB and SEED cannot be in it, nor a" \
            "dash before it"
    done
}

# ask PATTERN COMMAND ...: prints what the command answers, which must be that and nothing else.
ask() {
    local pattern=$1 answer
    shift
    answer=$("$@") || exit # it has said why
    if [[ ! $answer =~ ^($pattern)$ ]]; then
        printf '%s: %s: unexpected answer %q\n' "$0" "${*:1:3}" "$answer" >&2
        exit 1
    fi
    printf '%s\n' "$answer"
}

# hold FILE ...: from here to the next hold, one run at a time; others wait, and then find what is finished.
# Jobs inherit the locks: those that outlive a killed run are waited for, too.
HELD=()
hold() {
    local file held
    for held in "${HELD[@]}"; do exec {held}>&-; done
    HELD=()
    for file in "$@"; do
        mkdir -p "$(dirname "$file")"
        exec {held}<>"$file"
        if ! flock -n "$held"; then
            log "$file: waiting for $(<"$file")" >&2
            flock "$held"
        fi
        echo "process $$ on $HOSTNAME: ${ASVTK_COMMAND:-$0}" >"$file"
        HELD+=("$held")
    done
}
