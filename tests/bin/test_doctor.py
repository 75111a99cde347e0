"""asvtk doctor: what it says of this machine, and what it would say of others."""

import json

import pytest
import torch

from asvtk.bin import doctor
from asvtk.bin.main import main
from asvtk.nn.selective_scan import select_backend


def said(capsys, *options, status=0):
    assert main(["doctor", *options]) == status
    return capsys.readouterr()


def test_one_line_for_each_item_and_no_fault_here(capsys):
    lines = said(capsys).out.splitlines()
    assert [line.split()[1] for line in lines] == list(doctor.CHECKS)
    assert {line.split()[0] for line in lines} <= {"ok", "off", "missing"}


def test_json_holds_the_same(capsys):
    findings = json.loads(said(capsys, "--json").out)
    assert list(findings) == list(doctor.CHECKS)
    assert findings["torch"]["found"].startswith(torch.__version__)
    assert findings["asvtk"]["state"] == "ok" and findings["packages"]["found"].startswith("numpy ")
    for of in findings.values():
        assert of["state"] == "ok" or of["advice"]


def test_what_is_required_must_be_on(capsys):
    assert said(capsys, "--require", "torch", "libsndfile").err == ""
    if not torch.cuda.is_available():
        error = said(capsys, "--require", "mamba_ssm", "torch", "gpu", status=1).err
        assert error == "asvtk doctor: error: not ok: mamba_ssm, gpu\n"


def test_an_unknown_item_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--require", "tpu"])
    assert ended.value.code == 2 and "invalid choice: 'tpu'" in capsys.readouterr().err


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(capsys, monkeypatch):
    def broken():
        raise OSError("libsndfile.so.1: cannot open shared object file\nsecond line")

    monkeypatch.setitem(doctor.CHECKS, "libsndfile", broken)
    answer = said(capsys, status=1)
    (line,) = [line for line in answer.out.splitlines() if line.startswith("broken")]
    assert "libsndfile" in line and "OSError: libsndfile.so.1: cannot open shared object file; " in line
    assert answer.err == "asvtk doctor: error: not ok: libsndfile\n"
    assert len(answer.out.splitlines()) == len(doctor.CHECKS)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    finding = doctor.CHECKS["pyav"]()
    assert finding.state == "missing" and "pip install av" in finding.advice


def test_gpus_that_torch_does_not_see_are_told(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA Test, 580.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finding = doctor.CHECKS["gpu"]()
    assert finding.state == "off" and "torch sees none of: NVIDIA Test, 580.1" in finding.found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "(CUDA_VISIBLE_DEVICES is '')" in doctor.CHECKS["gpu"]().found


def test_schedulers_are_found_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.CHECKS["slurm"]().state == "off"
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    assert doctor.CHECKS["slurm"]() == ("ok", f"{tmp_path}/sbatch; name slurm.py in cmd.sh", "")


def test_offline_setting_is_told(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.CHECKS["huggingface"]().found.startswith("offline (HF_HUB_OFFLINE is set)")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for answers, state, said in (
        (True, doctor.OK, "online: "),
        (False, doctor.OFF, "the hub cannot be reached"),
    ):
        monkeypatch.setattr(doctor, "_answers", lambda _, answers=answers: answers)
        finding = doctor.CHECKS["huggingface"]()
        assert finding.state == state and finding.found.startswith(said)
    monkeypatch.undo()
    assert not doctor._answers("http://127.0.0.1:9")  # nobody is there


def test_the_scan_of_this_machine_agrees_with_float64():
    select_backend("auto")
    forward, backward = doctor.scan_error("cuda" if torch.cuda.is_available() else "cpu")
    assert 0 < forward < 1e-4 and 0 < backward < 1e-3


def test_a_scan_that_is_wrong_is_noticed(monkeypatch):
    from asvtk.nn import selective_scan as module

    right = module.selective_scan

    def wrong(u, *arguments, **options):
        y = right(u, *arguments, **options)
        return y if u.dtype == torch.float64 else y + 0.01 * u

    monkeypatch.setattr(module, "selective_scan", wrong)
    forward, backward = doctor.scan_error("cpu")
    assert forward > 1e-4 and backward > 1e-3
