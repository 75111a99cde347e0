"""Files of weights: what they are is said, and nothing of a size that they only claim is made."""

import zipfile

import pytest
import torch
from safetensors.torch import save_file

from asvtk.io.errors import AsvtkError
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.construction import require_shapes
from asvtk.nn.weights import read_safetensors, read_state_dict, require_finite
from asvtk.testing import detector_for

STATE = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}
OTHERS = {
    b"version https://git-lfs.github.com/spec/v1\n": "a Git LFS pointer",
    b"<!DOCTYPE html><html>": "a web page",
    b'{"error": "no"}': "JSON text",
    b"": "an empty file",
    b"hello, world, this is text": "plain text",
    b"\x80\x04\x95 evil": "a Python pickle, which could run anything",
}


@pytest.mark.parametrize("content", OTHERS, ids=OTHERS.values())
def test_fault_14_what_is_no_state_dict_is_named(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(AsvtkError, match=OTHERS[content]) as refusal:
        read_state_dict(path)
    assert str(refusal.value).endswith("expected a state dict that torch.save() wrote")
    assert "weights_only" not in str(refusal.value)
    with pytest.raises(AsvtkError):
        read_safetensors(path)


@pytest.mark.parametrize(
    "wrap, said",
    [
        (lambda x: x, ""),
        (lambda x: {"state_dict": x, "epoch": 3}, "the key 'state_dict'"),
        (lambda x: {"model": {f"module.{n}": t for n, t in x.items()}}, "the key 'model' and the prefix"),
    ],
)
def test_fault_14_wrapped_state_dicts_are_unwrapped(tmp_path, wrap, said):
    torch.save(wrap(STATE), tmp_path / "w.pth")
    tensors, taken_off = read_state_dict(tmp_path / "w.pth")
    assert tensors.keys() == STATE.keys() and torch.equal(tensors["a.weight"], STATE["a.weight"])
    assert taken_off.startswith(said) and bool(taken_off) == bool(said)


def test_fault_14_other_archives_and_safetensors(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pth")
    with pytest.raises(AsvtkError, match="is a TorchScript archive"):
        read_state_dict(tmp_path / "script.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("photos/a.jpg", b"x")
    with pytest.raises(AsvtkError, match="a zip archive of something else"):
        read_state_dict(tmp_path / "zip.pth")
    save_file(STATE, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth")[0].keys() == STATE.keys()


def test_fault_17_deflated_cut_and_piped_weights(tmp_path):
    import os

    torch.save(STATE, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as old, zipfile.ZipFile(tmp_path / "z.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + bytes(1 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(AsvtkError, match="unpacks to more than PyTorch writes"):
        read_state_dict(tmp_path / "z.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:-300])
    with pytest.raises(AsvtkError, match="cut off or damaged"):
        read_state_dict(tmp_path / "cut.pth")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AsvtkError, match="no plain file"):
        read_state_dict(tmp_path / "pipe")
    (tmp_path / "huge.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(AsvtkError, match="a list of tensors of 1099511627776 bytes"):
        read_safetensors(tmp_path / "huge.safetensors")


def test_fault_5_weights_that_are_not_finite_are_refused():
    require_finite("w", STATE)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(AsvtkError, match="w: holds weights that are not finite .*: b;"):
            require_finite("w", {**STATE, "b": torch.tensor([1.0, bad])})


@pytest.mark.parametrize(
    "change", [{"d_model": 10**6}, {"blocks": 10**9}, {"expand": 10**15}, {"d_model": 48}]
)
def test_fault_17_a_system_larger_than_its_weights_is_not_built(change):
    small = dict(d_model=16, blocks=1, d_state=4, d_expert=8, d_embedding=8)
    detector = detector_for(MoeMambaConfig(**small), layers=1, width=60)
    shapes = {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items()}

    def build(**change):
        config = MoeMambaConfig(**{**small, **change})
        require_shapes("w", lambda: detector_for(config, layers=1, width=60), shapes)

    build()
    with pytest.raises(AsvtkError, match="w: (the configuration describes|holds the weights of another)"):
        build(**change)
