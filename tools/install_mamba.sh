#!/usr/bin/env bash
# Build and install the CUDA kernel of mamba-ssm for the GPU, torch and Python that are here, and try it.
#
# asvtk runs everywhere without it, on a scan of its own; the kernel is a faster one. A plain
# `pip install mamba-ssm` goes wrong in several ways that this script avoids:
#   - pip's build isolation would bring another torch, against which the kernel is then built;
#   - a downloaded wheel, or a build of some versions, may come without selective_scan_cuda, the one module
#     that asvtk uses;
#   - it compiles for up to nine generations of GPUs, which takes nine times as long as for one. Its setup.py
#     fixes their list, so TORCH_CUDA_ARCH_LIST does not help: here a wrapper around nvcc replaces it;
#   - its dependencies, of which the kernel needs none, may replace installed packages.
# causal-conv1d is not needed.
set -euo pipefail

python=python3
version=2.3.2.post1
source=
arch=
deps=false
force=false
dry_run=false

usage="Usage: tools/install_mamba.sh [options]

  --python FILE     the Python to install into (default: the repository's .venv, else python3)
  --arch 'X.Y ...'  compute capabilities to build for (default: those of the GPUs here)
  --version V       of mamba-ssm (default: $version)
  --source FILE     its source archive, for machines without a network:
                    pip download --no-deps --no-binary mamba-ssm mamba-ssm==V gets it elsewhere
  --deps            also install what the package's own models need; asvtk needs none of it
  --force           build again what works
  --dry-run         say what would be done

Looks for CUDA in \$CUDA_HOME, on PATH, and in \$CUDA_ROOTS (default: /usr/local/cuda* /opt/cuda*)."

say() { printf '%-8s %s\n' "$1" "$2"; }

# Ends with what is wrong and what to do.
stop() {
    printf 'install_mamba.sh: error: %s\n' "$1" >&2
    shift
    printf '  %s\n' "$@" "Until then asvtk runs on its own scan; nothing else is missing." >&2
    exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
while [ $# -gt 0 ]; do
    case $1 in
        --python | --arch | --version | --source)
            [ $# -ge 2 ] || { echo "$0: $1 needs a value" >&2; exit 2; }
            printf -v "${1#--}" %s "$2"
            shift
            ;;
        --deps) deps=true ;;
        --force) force=true ;;
        --dry-run) dry_run=true ;;
        --help | -h) echo "$usage"; exit 0 ;;
        *) echo "$0: $1: no such option; --help lists them" >&2; exit 2 ;;
    esac
    shift
done

# ---- what is here

python=$(command -v "$python") || stop "no Python '$python'" "name one with --python"
[ -z "$source" ] || [ -f "$source" ] || stop "$source: no such file" "get it where there is a network, see --help"
PATH=$(dirname "$python"):$PATH # ninja of the same environment

declare -A fact
while read -r name value; do fact[$name]=$value; done < <("$python" - <<'PY'
import importlib.util
import platform

print("python", platform.python_version())
for name in ("setuptools", "wheel", "packaging", "ninja", "asvtk"):
    print(name, "yes" if importlib.util.find_spec(name) else "no")
try:
    import torch
except ImportError as error:
    print("torch", "none", error)
else:
    print("torch", torch.__version__)
    print("cuda", torch.version.cuda or "none")
    print("hip", torch.version.hip or "none")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        capabilities = sorted({torch.cuda.get_device_capability(i) for i in range(count)})
        print("gpus", *(f"{major}.{minor}" for major, minor in capabilities))
PY
)
say python "${fact[python]:-?} ($python)"
case ${fact[torch]:-none} in
    none*) stop "this Python has no torch that can be imported (${fact[torch]:-})" \
        "install a CUDA build of torch first, then run this again" ;;
esac
say torch "${fact[torch]}, CUDA ${fact[cuda]}"
[ "${fact[hip]:-none}" = none ] || stop "torch is built for ROCm" "this script builds for NVIDIA GPUs only"
[ "${fact[cuda]}" != none ] || stop "torch ${fact[torch]} is built without CUDA, and so would be the kernel" \
    "replace it by a CUDA build (pytorch.org, 'Get started', tells the command), then run this again" \
    "without an NVIDIA GPU there is nothing to gain"
[ "${fact[asvtk]}" = yes ] || stop "asvtk is not installed in this Python, so the kernel could not be tried" \
    "$python -m pip install -e $root"

here=${fact[gpus]:-}
if [ -z "$here" ]; then
    here=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+\.[0-9]+$' | sort -uV | xargs) || here=
    [ -z "$here" ] || [ -n "$arch" ] || stop "nvidia-smi lists GPUs (capability $here), but torch sees none" \
        "look at CUDA_VISIBLE_DEVICES, and whether the driver is new enough for CUDA ${fact[cuda]}" \
        "to build without trying the kernel here, give --arch '$here'"
fi
arch=${arch:-$here}
[ -n "$arch" ] || stop "no GPU here" \
    "run this where the jobs will run, or name the capability of their GPUs: --arch 9.0 for H100 and H200," \
    "8.0 for A100, 8.6 for RTX 30, 8.9 for RTX 40 and L40"
[[ $arch =~ ^[0-9]+\.[0-9]+(\ [0-9]+\.[0-9]+)*$ ]] || stop "--arch '$arch'" "expected numbers such as '9.0' or '8.0 9.0'"
say gpu "capability $arch${here:+ (here: $here)}"

if [ "$force" != true ] && [ -n "${fact[gpus]:-}" ] && "$python" -m asvtk doctor --require mamba_ssm >/dev/null 2>&1; then
    say kernel "runs already; --force builds it again"
    exit 0
fi

# ---- the compiler

# Folders of CUDA, each once, the most explicitly named first.
cuda_folders() {
    local nvcc folder
    [ -z "${CUDA_HOME:-}" ] || echo "$CUDA_HOME"
    if nvcc=$(command -v nvcc); then dirname "$(dirname "$(readlink -f "$nvcc")")"; fi
    for folder in ${CUDA_ROOTS-/usr/local/cuda* /opt/cuda*}; do
        [ ! -x "$folder/bin/nvcc" ] || readlink -f "$folder"
    done
}

cuda= seen=
while read -r folder; do
    [ -x "$folder/bin/nvcc" ] && [ -e "$folder/include/cuda_runtime.h" ] || continue
    found=$("$folder/bin/nvcc" -V | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
    seen+=" $found in $folder,"
    # The same release is best; another of the same major version also builds.
    if [ "$found" = "${fact[cuda]}" ] || { [ -z "$cuda" ] && [ "${found%%.*}" = "${fact[cuda]%%.*}" ]; }; then
        cuda=$folder nvcc_version=$found
        [ "$found" != "${fact[cuda]}" ] || break
    fi
done < <(cuda_folders | awk '!there[$0]++')
wanted="install the compiler and headers of CUDA ${fact[cuda]} (a package cuda-toolkit-${fact[cuda]/./-}, conda's
  cuda-toolkit=${fact[cuda]}, or your cluster's 'module load cuda/${fact[cuda]}') and give CUDA_HOME=DIR"
[ -n "$seen" ] || stop "no nvcc with its headers (DIR/bin/nvcc and DIR/include/cuda_runtime.h)" "$wanted"
[ -n "$cuda" ] || stop "torch is built for CUDA ${fact[cuda]}, but nvcc is${seen%,}" "$wanted" \
    "or install a torch that is built for the CUDA that is here"
say nvcc "$nvcc_version in $cuda"
compiles_for=$("$cuda/bin/nvcc" --list-gpu-code 2>/dev/null) || compiles_for= # older ones cannot tell
for capability in $arch; do
    [ -z "$compiles_for" ] || grep -qx "sm_${capability/./}" <<<"$compiles_for" ||
        stop "nvcc $nvcc_version cannot compile for GPUs of capability $capability" \
            "their generation needs another CUDA, and a torch that is built for it"
done
command -v "${CXX:-g++}" >/dev/null || stop "no C++ compiler (${CXX:-g++})" "install g++, or name one: CXX=..."

# ---- the plan

missing=()
for name in setuptools wheel packaging ninja; do [ "${fact[$name]}" = yes ] || missing+=("$name"); done
if [ -z "${MAX_JOBS:-}" ]; then # a compilation takes up to 4 GB
    memory=$(awk '/MemAvailable/ { print int($2 / 4e6) }' /proc/meminfo 2>/dev/null || echo 1)
    cpus=$(nproc)
    MAX_JOBS=$((memory < 1 ? 1 : memory < cpus ? memory : cpus))
fi
say jobs "$MAX_JOBS compilations at a time (MAX_JOBS)"

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
targets=
for capability in $arch; do targets+=" -gencode arch=compute_${capability/./},code=sm_${capability/./}"; done
cat >"$build/nvcc" <<WRAPPER
#!/usr/bin/env bash
# nvcc for the GPUs here: drops the targets that setup.py lists.
words=()
while [ \$# -gt 0 ]; do
    case \$1 in
        -gencode | --generate-code) shift ;;
        -gencode=* | --generate-code=*) ;;
        *) words+=("\$1") ;;
    esac
    shift
done
exec "$cuda/bin/nvcc" "\${words[@]}"$targets
WRAPPER
chmod +x "$build/nvcc"

settings=(CUDA_HOME="$cuda" PYTORCH_NVCC="$build/nvcc" MAX_JOBS="$MAX_JOBS"
    MAMBA_FORCE_BUILD=TRUE      # no downloaded wheel: it is built for another torch, or lacks the kernel
    MAMBA_KEEP_CUDA_BUILD=TRUE) # versions that would leave the kernel out heed this
install=("$python" -m pip install --no-build-isolation --no-cache-dir --force-reinstall)
if [ "$deps" = true ]; then
    say deps "of the package, too"
    extra=("$python" -m pip install "${source:-mamba-ssm==$version}" --no-build-isolation)
fi
package=${source:-mamba-ssm==$version}
[ -n "$source" ] || install+=(--no-binary mamba-ssm)
install+=(--no-deps "$package")
[ ${#missing[@]} -eq 0 ] || say first "$python -m pip install ${missing[*]}"
say then "${settings[*]} ${install[*]}"
[ "$deps" != true ] || say then "${extra[*]}"
say last "$python -m asvtk doctor --require mamba_ssm"
[ "$dry_run" != true ] || exit 0

# ---- the installation

log=${TMPDIR:-/tmp}/install_mamba.$$.log

# What a log of pip means, as far as it is known, into `known`.
explain() {
    known=()
    means() { ! grep -qiE "$1" "$log" || known+=("$2"); }
    means 'unsupported GNU version' "this nvcc refuses the installed g++: give an older one, CXX=g++-N CC=gcc-N"
    means 'No space left' "the disk is full: name another folder with TMPDIR=DIR"
    means 'Killed|cannot allocate memory' "too little memory: give MAX_JOBS=1"
    means 'Python\.h: No such file' "Python's headers are missing: install python3-dev"
    means '(cublas|cusparse|cusolver|cub/).*: No such file' "not all of CUDA's headers are there: install its toolkit"
    means 'No matching distribution|Could not find a version' "the package cannot be had from here: see --source"
    means 'ConnectionError|name resolution' "no network: see --source"
    means 'detected CUDA version' "torch found another CUDA than this script: give CUDA_HOME=DIR"
    [ ${#known[@]} -gt 0 ] || known=("nothing known: look for the first 'error' in it")
}

attempt() {
    "$@" &>"$log" || {
        tail -n 20 "$log" >&2
        explain
        stop "pip failed; its log is $log" "${known[@]}"
    }
}

[ ${#missing[@]} -eq 0 ] || attempt "$python" -m pip install "${missing[@]}"
echo "compiling takes minutes; its log: tail -f $log"
attempt env "${settings[@]}" "${install[@]}"
[ "$deps" != true ] || attempt "${extra[@]}"

# ---- does it run?

"$python" -c 'import sys, importlib.util; sys.exit(importlib.util.find_spec("selective_scan_cuda") is None)' ||
    stop "pip installed mamba-ssm $version without its kernel selective_scan_cuda" \
        "the log is $log; another --version may have it"
if [ -z "${fact[gpus]:-}" ]; then
    say kernel "built for $arch, not tried: no GPU here. On a node that has one: asvtk doctor --require mamba_ssm"
    exit 0
fi
"$python" -m asvtk doctor --require mamba_ssm || stop "the kernel is installed but not fit for use, see above" \
    "to be rid of it: $python -m pip uninstall mamba-ssm"
say kernel "installed, and agrees with a scan in float64"
rm -f "$log"
