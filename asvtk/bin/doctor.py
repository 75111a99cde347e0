"""Print the whole environment, which fast paths are on, and what to do about those that are not.

ok: works. off: works without it, slower or on other hardware. missing: an optional package. broken: must be
mended. The exit status is 1 where something is broken, or an item of --require is not ok.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, util
from typing import NamedTuple

from asvtk.io.environment import git_revision
from asvtk.version import __version__

EXAMPLES = """\
  asvtk doctor
  asvtk doctor --require gpu mamba_ssm
      first line of a job that is to fail at once on the wrong node
"""

OK, OFF, MISSING, BROKEN = "ok", "off", "missing", "broken"
_ROOM = 10 << 30  # bytes; features of a small corpus and a few experiments


class Finding(NamedTuple):
    state: str
    found: str
    advice: str = ""


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--require", nargs="+", default=[], choices=CHECKS, metavar="ITEM", help="fail unless these are ok"
    )


def run(args):
    findings = {item: _examine(check) for item, check in CHECKS.items()}
    if args.json:
        print(json.dumps({item: finding._asdict() for item, finding in findings.items()}, indent=1))
    else:
        width = max(map(len, findings))
        for item, (state, found, advice) in findings.items():
            print(f"{state:<8} {item:<{width}}  {found}" + (f"; {advice}" if advice else ""))
    wrong = [item for item in findings if findings[item].state == BROKEN]
    wrong += [item for item in args.require if findings[item].state != OK and item not in wrong]
    if wrong:
        print(f"asvtk doctor: error: not ok: {', '.join(wrong)}", file=sys.stderr)
        return 1


def _examine(check: Callable[[], Finding]) -> Finding:
    """A diagnosis must not end with the first fault it finds, whatever that is."""
    try:
        return check()
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return Finding(BROKEN, f"{type(error).__name__}: {lines[0]}", "install it again")


def _asvtk() -> Finding:
    return Finding(OK, f"{__version__}, git revision {git_revision() or 'unknown'}")


def _python() -> Finding:
    return Finding(OK, f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")


def _torch() -> Finding:
    import torch

    cuda, hip = torch.version.cuda, torch.version.hip
    build = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU only"
    return Finding(OK, f"{torch.__version__}, {build}, {torch.get_num_threads()} threads")


def _packages() -> Finding:
    import numpy
    import safetensors
    import scipy
    import transformers
    import yaml

    modules = (numpy, scipy, safetensors, transformers, yaml)
    return Finding(OK, ", ".join(f"{module.__name__} {module.__version__}" for module in modules))


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        cards = (
            f"{of.name}, {of.total_memory / 2**30:.0f} GiB, capability {of.major}.{of.minor}"
            for of in properties
        )
        return Finding(OK, "; ".join(cards))
    if driver := _answer("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"):
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason = f"CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else _torch().found
        advice = "install a CUDA build of torch that this driver can run"
        return Finding(OFF, f"torch sees none of: {'; '.join(driver.splitlines())} ({reason})", advice)
    return Finding(OFF, "none", "everything runs on the CPU with --ngpu 0")


def _mamba_ssm() -> Finding:
    import torch

    from asvtk.nn.scan_mamba_ssm import why_not_mamba_ssm

    reason = why_not_mamba_ssm(torch.device("cuda"))
    if reason is not None:
        advice = "" if reason.startswith("no CUDA") else "; to build it: tools/install_mamba.sh"
        return Finding(OFF, reason, f"scans run on asvtk's own PyTorch backend{advice}")
    forward, backward = scan_error("cuda")
    found = f"its kernel differs from float64 by {forward:.0e}, its gradients by {backward:.0e} (relative)"
    if not (forward < 1e-4 and backward < 1e-3):
        return Finding(BROKEN, found, "build it again: tools/install_mamba.sh --force")
    return Finding(OK, found)


def scan_error(device: str) -> tuple[float, float]:
    """Largest relative error of a float32 scan on ``device`` and of its gradients, against float64."""
    import torch

    from asvtk.nn.selective_scan import selective_scan

    generator = torch.Generator().manual_seed(0)
    batch, channels, groups, states, length = 2, 32, 2, 16, 300

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = (draw(batch, groups, states, length) for _ in "BC")
    inputs = [draw(batch, channels, length), draw(batch, channels, length) - 2]
    inputs += [-draw(channels, states).exp(), *weights, draw(channels), draw(batch, channels, length)]
    direction = draw(batch, channels, length)
    results = []
    for place, precision in (("cpu", torch.float64), (device, torch.float32)):
        own = [x.to(place, precision).requires_grad_() for x in inputs]
        y = selective_scan(*own, delta_softplus=True)
        gradients = torch.autograd.grad((y * direction.to(place, precision)).sum(), own)
        results.append([x.detach().cpu().double() for x in (y, *gradients)])
    errors = [((found - exact).norm() / exact.norm()).item() for exact, found in zip(*results, strict=True)]
    return errors[0], max(errors[1:])


def _triton() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(OFF, "no CUDA device is available", "SSL models run on PyTorch's operations")
    if util.find_spec("triton") is None:
        return Finding(OFF, "not installed", "it comes with torch's CUDA builds for Linux")
    from asvtk.nn.fused_norm import norm_gelu

    norm = torch.nn.LayerNorm(512, device="cuda")
    x = torch.randn(64, 512, device="cuda")
    with torch.inference_mode():
        error = (norm_gelu(x.bfloat16(), norm).float() - norm_gelu(x, norm)).abs().max().item()
    found = f"{metadata.version('triton')}; the kernels of SSL inference in half precision run"
    if not error < 0.1:
        return Finding(BROKEN, f"a kernel is wrong by {error:.2g}", "use frontend.precision: float32")
    return Finding(OK, found)


def _libsndfile() -> Finding:
    import soundfile

    return Finding(OK, f"{soundfile.__libsndfile_version__} (soundfile {soundfile.__version__})")


def _optional(package: str, module: str, purpose: str, install: str) -> Callable[[], Finding]:
    def check() -> Finding:
        if util.find_spec(module) is None:
            return Finding(MISSING, "not installed", f"{purpose}: pip install {install}")
        return Finding(OK, metadata.version(package))

    return check


def _cpu() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    named = " ".join(f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS",) if name in os.environ)
    return Finding(OK, f"{usable} of {os.cpu_count()} usable {named}".rstrip())


def _disk() -> Finding:
    usage = shutil.disk_usage(".")
    found = f"{usage.free / 2**30:.0f} GiB free in {os.getcwd()}"
    if usage.free < _ROOM:
        return Finding(OFF, found, "feature caches may not fit; 'asvtk cache' tells their sizes")
    return Finding(OK, found)


def _cluster(command: str, launcher: str) -> Callable[[], Finding]:
    def check() -> Finding:
        place = shutil.which(command)
        if place is None:
            return Finding(OFF, f"no {command} on PATH", "cmd.sh runs jobs on this machine")
        return Finding(OK, f"{place}; name {launcher} in cmd.sh")

    return check


def _huggingface() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    from huggingface_hub.constants import HF_HUB_CACHE

    if offline:
        return Finding(OK, f"offline (HF_HUB_OFFLINE is set): models come from {HF_HUB_CACHE} or a directory")
    if _answers(os.environ.get("HF_ENDPOINT") or "https://huggingface.co"):
        return Finding(OK, f"online: missing models are fetched into {HF_HUB_CACHE}")
    return Finding(OFF, "the hub cannot be reached", f"models come from {HF_HUB_CACHE} or a directory")


def _answers(address: str) -> bool:
    """Does a server answer within two seconds, through the proxy if one is set?"""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(address, method="HEAD"), timeout=2).close()
    except HTTPError:  # an answer too
        return True
    except (OSError, ValueError):
        return False
    return True


def _answer(*command: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


CHECKS = {
    "asvtk": _asvtk,
    "python": _python,
    "torch": _torch,
    "packages": _packages,
    "gpu": _gpu,
    "mamba_ssm": _mamba_ssm,
    "triton": _triton,
    "libsndfile": _libsndfile,
    "pyav": _optional("av", "av", "reads the sound files that libsndfile refuses", "av"),
    "kaldiio": _optional(
        "kaldiio", "kaldiio", "float64, 8-bit and NumPy arks for asvtk cache import", "kaldiio"
    ),
    "matplotlib": _optional("matplotlib", "matplotlib", "pictures of stage 6", "'asvtk[report]'"),
    "scikit-learn": _optional("scikit-learn", "sklearn", "calibration", "scikit-learn"),
    "cpu": _cpu,
    "disk": _disk,
    "slurm": _cluster("sbatch", "slurm.py"),
    "sge": _cluster("qsub", "sge.py"),
    "huggingface": _huggingface,
}
