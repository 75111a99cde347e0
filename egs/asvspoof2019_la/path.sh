# What every stage and every job finds: the launcher and tools of utils/, and asvtk from the repository's
# own environment if `make` built one, else from the one that is active. Read in a recipe's folder.
root=$(cd ../.. && pwd)
PATH=$root/utils:$PATH
[ -x "$root/.venv/bin/asvtk" ] && PATH=$root/.venv/bin:$PATH
export PATH LC_ALL=C PYTHONUNBUFFERED=1
if ! command -v asvtk >/dev/null; then
    echo "path.sh: asvtk is not installed: run 'make env' in $root, or 'pip install -e $root'" >&2
    exit 1
fi
