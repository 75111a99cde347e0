"""tools/install_mamba.sh on machines of all kinds: what it decides, does, and says where it cannot.

The machines are stand-ins: a Python that answers what it is told to, an nvcc, an nvidia-smi. The wrapper
that narrows a build to one GPU is tried on a command line as setup.py of mamba-ssm writes it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install_mamba.sh"
FACTS = {
    "python": "3.12.3",
    "setuptools": "yes",
    "wheel": "yes",
    "packaging": "yes",
    "ninja": "yes",
    "asvtk": "yes",
    "torch": "2.11.0+cu130",
    "cuda": "13.0",
    "hip": "none",
    "gpus": "9.0",
}
PYTHON = """
here={here}
if [ "$1" = - ]; then cat >/dev/null; cat $here/facts; exit; fi
echo "$*" >>$here/calls
case "$*" in
    "-m pip install --no-build-isolation"*)
        env | grep -E '^(CUDA_HOME|MAX_JOBS|MAMBA_[A-Z_]*)=' | sort >$here/environment
        $PYTORCH_NVCC -O3 -gencode arch=compute_75,code=sm_75 --generate-code=arch=compute_80,code=sm_80 -o x
        cat $here/pip.log
        [ ! -s $here/pip.log ] && touch $here/built ;;
    "-m pip"*) ;;
    "-m asvtk doctor --require mamba_ssm") [ -e $here/works ] || [ -e $here/built -a ! -e $here/unfit ] ;;
    "-c "*) [ -e $here/built -a ! -e $here/without_kernel ] ;;
    *) exit 9 ;;
esac
"""
NVCC = """
case $1 in
    -V) echo "Cuda compilation tools, release {version}, V{version}.88" ;;
    --list-gpu-code) printf '%s\\n' {codes} ;;
    *) echo "$*" >{here}/nvcc.words ;;
esac
"""


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.facts = dict(FACTS)
        self.environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
        self.environment["CUDA_ROOTS"] = f"{folder}/cuda-*"
        (folder / "pip.log").touch()
        self.command("python", PYTHON.format(here=folder))
        self.command("g++", "")

    def command(self, name, body):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}")
        path.chmod(0o755)

    def cuda(self, version, codes="sm_80 sm_90 sm_100"):
        self.command("nvcc", NVCC.format(version=version, codes=codes, here=self.folder))
        home = self.folder / f"cuda-{version}"
        (home / "bin").mkdir(parents=True)
        (home / "include").mkdir()
        (home / "include" / "cuda_runtime.h").touch()
        (self.folder / "bin" / "nvcc").rename(home / "bin" / "nvcc")
        return home

    def run(self, *options):
        facts = "".join(f"{name} {value}\n" for name, value in self.facts.items())
        (self.folder / "facts").write_text(facts)
        command = [SCRIPT, "--python", self.folder / "bin" / "python", *options]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=30)

    def succeeds(self, *options):
        answer = self.run(*options)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def fails(self, *options):
        answer = self.run(*options)
        assert answer.returncode == 1
        assert answer.stderr.rstrip().endswith("asvtk runs on its own scan; nothing else is missing.")
        return answer.stderr

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def installs(self):
        return [call for call in self.calls() if call.startswith("-m pip")]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_builds_for_the_gpu_that_is_here_and_tries_the_kernel(machine):
    home = machine.cuda("13.0")
    said = machine.succeeds()
    (install,) = machine.installs()
    words = install.split()
    assert {"--no-build-isolation", "--no-deps", "--no-cache-dir", "--force-reinstall"} < set(words)
    assert words[-1] == "mamba-ssm==2.3.2.post1"
    settings = dict(line.split("=", 1) for line in (machine.folder / "environment").read_text().split())
    assert settings.pop("CUDA_HOME") == str(home) and int(settings.pop("MAX_JOBS")) >= 1
    assert settings == {"MAMBA_FORCE_BUILD": "TRUE", "MAMBA_KEEP_CUDA_BUILD": "TRUE"}
    # Of the targets that setup.py lists, none is left.
    assert (machine.folder / "nvcc.words").read_text() == "-O3 -o x -gencode arch=compute_90,code=sm_90\n"
    assert machine.calls()[-1] == "-m asvtk doctor --require mamba_ssm"
    assert said.splitlines()[-1].split(maxsplit=1) == [
        "kernel",
        "installed, and agrees with a scan in float64",
    ]


def test_dry_run_says_what_would_be_done_and_does_nothing(machine):
    machine.cuda("13.0")
    machine.facts["ninja"] = "no"
    said = machine.succeeds("--dry-run")
    assert "capability 9.0" in said and "nvcc     13.0 in" in said
    assert "-m pip install ninja\n" in said and "MAMBA_FORCE_BUILD=TRUE" in said
    assert machine.installs() == []


def test_what_runs_is_left_alone_unless_forced(machine):
    machine.cuda("13.0")
    (machine.folder / "works").touch()
    assert "runs already" in machine.succeeds() and machine.installs() == []
    machine.succeeds("--force")
    assert len(machine.installs()) == 1


def test_missing_build_tools_are_installed_first(machine):
    machine.cuda("13.0")
    machine.facts |= {"wheel": "no", "ninja": "no"}
    machine.succeeds()
    assert machine.installs()[0] == "-m pip install wheel ninja" and len(machine.installs()) == 2


def test_different_gpus_are_all_built_for(machine):
    machine.cuda("13.0")
    machine.facts["gpus"] = "8.0 9.0"
    machine.succeeds()
    words = (machine.folder / "nvcc.words").read_text()
    assert words.endswith("-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90\n")


@pytest.mark.parametrize(
    "facts, said",
    [
        (
            {"torch": "none No module named torch"},
            "no torch that can be imported",
        ),
        ({"cuda": "none"}, "is built without CUDA"),
        ({"cuda": "none", "hip": "6.2"}, "built for ROCm"),
        ({"asvtk": "no"}, "asvtk is not installed in this Python"),
        ({"gpus": ""}, "no GPU here"),
        ({"cuda": "12.8"}, "torch is built for CUDA 12.8, but nvcc is 13.0 in"),
        ({"gpus": "12.0"}, "nvcc 13.0 cannot compile for GPUs of capability 12.0"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_installed(machine, facts, said):
    machine.cuda("13.0")
    machine.facts |= facts
    assert said in machine.fails()
    assert machine.installs() == []


def test_no_compiler_is_told_with_the_version_to_get(machine):
    said = machine.fails()
    assert "no nvcc with its headers" in said and "cuda-toolkit-13-0" in said


def test_an_nvcc_without_headers_does_not_count(machine):
    (machine.cuda("13.0") / "include" / "cuda_runtime.h").unlink()
    assert "no nvcc with its headers" in machine.fails()


def test_the_cuda_of_torch_is_preferred_to_others(machine):
    machine.cuda("12.9")
    machine.cuda("13.1")
    assert "nvcc     13.1 in" in machine.succeeds("--dry-run")  # same major version
    home = machine.cuda("13.0")
    assert f"nvcc     13.0 in {home}" in machine.succeeds("--dry-run")


def test_a_gpu_that_torch_does_not_see_is_told(machine):
    machine.cuda("13.0")
    machine.facts["gpus"] = ""
    machine.command("nvidia-smi", "echo 9.0; echo 9.0")
    said = machine.fails()
    assert "nvidia-smi lists GPUs (capability 9.0), but torch sees none" in said


def test_without_a_gpu_it_builds_for_another_machines(machine):
    machine.cuda("13.0")
    machine.facts["gpus"] = ""
    said = machine.succeeds("--arch", "8.0")
    assert "built for 8.0, not tried" in said
    assert (machine.folder / "nvcc.words").read_text().endswith("arch=compute_80,code=sm_80\n")
    assert not any("doctor" in call for call in machine.calls())


def test_without_a_network_it_builds_an_archive(machine):
    machine.cuda("13.0")
    archive = machine.folder / "mamba_ssm-2.3.2.post1.tar.gz"
    assert f"{archive}: no such file" in machine.fails("--source", str(archive))
    archive.touch()
    machine.succeeds("--source", str(archive))
    assert machine.installs()[0].endswith(f"--no-deps {archive}")


@pytest.mark.parametrize(
    "log, advice",
    [
        ("#error -- unsupported GNU version! gcc versions later than 14", "CXX=g++-N"),
        ("fatal error: Python.h: No such file or directory", "python3-dev"),
        ("fatal error: cub/block/block_load.cuh: No such file or directory", "install its toolkit"),
        ("ERROR: No matching distribution found for mamba-ssm", "--source"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "MAX_JOBS=1"),
        ("error: something else", "nothing known"),
    ],
)
def test_a_build_that_fails_shows_its_log_and_what_to_do(machine, log, advice):
    machine.cuda("13.0")
    (machine.folder / "pip.log").write_text(log + "\n")
    said = machine.fails()
    assert log in said and advice in said and "pip failed; its log is" in said


def test_an_installation_without_the_kernel_is_a_failure(machine):
    machine.cuda("13.0")
    (machine.folder / "without_kernel").touch()
    assert "without its kernel selective_scan_cuda" in machine.fails()


def test_a_kernel_that_is_not_fit_for_use_is_a_failure(machine):
    machine.cuda("13.0")
    (machine.folder / "unfit").touch()
    assert "installed but not fit for use" in machine.fails()


@pytest.mark.parametrize("words", [["--archs", "9.0"], ["--version"]])
def test_misuse_is_a_usage_error(machine, words):
    assert machine.run(*words).returncode == 2


def test_this_machine_answers_the_questions(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [SCRIPT, "--python", sys.executable, "--dry-run", "--arch", "9.0"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert f"python   {sys.version.split()[0]} (" in answer.stdout
    assert answer.stdout.splitlines()[1].startswith("torch    ")
    assert answer.returncode in (0, 1) and (answer.returncode == 0 or "error: " in answer.stderr)
