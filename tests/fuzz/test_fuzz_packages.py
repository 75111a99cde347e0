"""Packages and published weights: nothing in them is executed, and what is damaged is refused."""

import csv
import hashlib
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import soundfile
import torch
import yaml
from hypothesis import strategies as st
from mutations import (
    DOCUMENTS,
    ODD_TEXT,
    WHOLE_TEXTS,
    apply,
    apply_changes,
    byte_edits,
    changes,
    fuzz,
    to_yaml,
)


def _members(package) -> dict[str, bytes]:
    with tarfile.open(package) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def _pack(members: dict[str, bytes], seal: bool = True, **options) -> bytes:
    """A package of these members; sealed, its checksums fit whatever was changed."""
    if seal:
        about = json.loads(members["package.json"])
        about["files"] = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in members.items()
            if name != "package.json"
        }
        members = members | {"package.json": json.dumps(about).encode()}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _open(case, data: bytes, **expected):
    """Unpack: whole, or refused with nothing left."""
    case.write("p.tar", data)
    said = case.run("p.tar", "out", verb="unpack", names="p.tar")
    assert (case.folder / "out").exists() == (said.status == 0), "a refused package left its folder"
    return said


def _use(case, data: bytes) -> None:
    """Score with it: refused, or scores that are numbers and decisions that fit a finite threshold."""
    case.write("p.tar", data)
    soundfile.write(case.folder / "good.wav", 0.1 * np.sin(np.arange(4000) / 5), 16_000)
    words = ["--model", "p.tar", "--audio", "good.wav", "--out", "s.tsv"]
    said = case.run(*words, verb="score", names="p.tar")
    if said.status == 0:
        with open(case.folder / "s.tsv", newline="") as stream:
            (row,) = csv.DictReader(stream, delimiter="\t")
        threshold = float(said.out.split("threshold ")[1].split()[0])
        assert np.isfinite([float(row["score"]), threshold]).all(), "a score or threshold that is no number"
        decision = "bonafide" if float(row["score"]) > threshold else "spoof"
        assert row["decision"] in (decision, "no_speech"), "the decision does not fit the score"


# ---- the archive


@fuzz(130, edits=byte_edits())
def test_damaged_archive(lab, edits):
    with lab.case("unpack") as case:
        _open(case, apply(edits, lab.package.read_bytes()))


@fuzz(40, edits=byte_edits(most=1), member=st.integers(0, 5))
def test_damaged_header_of_a_member(lab, edits, member):
    with lab.case("unpack") as case:
        data = lab.package.read_bytes()
        with tarfile.open(lab.package) as archive:
            start = archive.getmembers()[member].offset
        _open(case, data[:start] + apply(edits, data[start : start + 512]) + data[start + 512 :])


def _odd_archives(lab) -> dict[str, bytes]:
    members = _members(lab.package)
    names = list(members)
    odd = {"in another order": _pack(dict(reversed(members.items())))}
    odd |= {
        f"without {name}": _pack({n: d for n, d in members.items() if n != name}, seal=False)
        for name in names
    }
    for name in (
        "../evil",
        "/tmp/asvtk_fuzz_evil",
        "a/../../evil",
        "./config.yaml",
        "config.yaml/",
        "\n",
        "x" * 300,
        "\udcff",
    ):
        odd[f"with {name[:20]!r}"] = _pack(
            members | {name: b"x"}, seal=False, encoding="utf-8", errors="surrogateescape"
        )
    kinds = {
        "link": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "FIFO": tarfile.FIFOTYPE,
        "device": tarfile.CHRTYPE,
    }
    kinds |= {"folder": tarfile.DIRTYPE, "sparse file": tarfile.GNUTYPE_SPARSE, "unknown type": b"Z"}
    for what, kind in kinds.items():
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            info = tarfile.TarInfo("config.yaml")
            info.type, info.linkname, info.devmajor, info.devminor = kind, "/etc/passwd", 1, 5
            archive.addfile(info)
        odd[f"with a {what}"] = stream.getvalue()[:-1024] + lab.package.read_bytes()
    stream = io.BytesIO(lab.package.read_bytes())
    with tarfile.open(fileobj=stream, mode="a") as archive:
        archive.addfile(tarfile.TarInfo("config.yaml"))
    odd["with a member twice"] = stream.getvalue()
    for name, size in (("config.yaml", 10**12), ("model.safetensors", 10**15), ("card.md", 2**63)):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
        odd[f"{name} claims {size} bytes"] = stream.getvalue()
    return odd


@pytest.mark.parametrize("number", range(28))
def test_odd_archives(lab, number):
    odd = list(_odd_archives(lab).items())
    if number < len(odd):
        with lab.case("unpack") as case:
            said = _open(case, odd[number][1])
            assert said.status == (0 if odd[number][0] in ("in another order",) else 1), odd[number][0]
            assert not (case.folder.parent / "evil").exists()


@pytest.mark.parametrize("number", range(len(WHOLE_TEXTS)))
def test_files_that_are_no_packages(lab, number):
    with lab.case("unpack") as case:
        assert _open(case, WHOLE_TEXTS[number]).status == 1


# ---- its members, with checksums that fit


@fuzz(
    30,
    changed=changes(),
    name=st.sampled_from(["package.json", "config.yaml", "results.json", "environment.json"]),
)
def test_wrong_values_in_members(lab, changed, name):
    with lab.case("score") as case:
        members = _members(lab.package)
        tree = apply_changes(changed, yaml.safe_load(members[name]))
        text = to_yaml(tree) if name.endswith("yaml") else json.dumps(tree, default=str)
        # A member that lists checksums is changed as it is; others are sealed.
        _use(case, _pack(members | {name: text.encode()}, seal=name != "package.json"))


@pytest.mark.parametrize("name", ["package.json", "config.yaml"])
@pytest.mark.parametrize("number", range(0, len(DOCUMENTS), 3))
def test_odd_documents_in_members(lab, name, number):
    with lab.case("unpack") as case:
        members = _members(lab.package) | {name: DOCUMENTS[number].encode()}
        data = _pack(members, seal=name != "package.json")
        _open(case, data)
        _use(case, data)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), True, "1", None, [], 10**400, "nan", {}])
def test_thresholds_that_are_no_numbers(lab, threshold):
    with lab.case("unpack") as case:
        members = _members(lab.package)
        about = json.loads(members["package.json"])
        about["threshold"]["threshold"] = threshold
        data = _pack(members | {"package.json": json.dumps(about).encode()}, seal=False)
        assert _open(case, data).status == 1, "unpacked"
        _use(case, data)
        assert not (case.folder / "s.tsv").exists(), "scored"


@fuzz(25, edits=byte_edits())
def test_damaged_weights_with_fitting_checksums(lab, edits):
    with lab.case("score") as case:
        members = _members(lab.package)
        weights = apply(edits, members["model.safetensors"])
        _use(case, _pack(members | {"model.safetensors": weights}))


TENSOR_CHANGES = {
    "NaN": lambda name, tensor: {name: np.full_like(tensor, np.nan)},
    "infinite": lambda name, tensor: {name: np.full_like(tensor, np.inf)},
    "another shape": lambda name, tensor: {name: tensor[None]},
    "another type": lambda name, tensor: {name: tensor.astype(np.int64)},
    "half precision": lambda name, tensor: {name: tensor.astype(np.float16)},
    "empty": lambda name, tensor: {name: tensor.reshape(-1)[:0]},
    "another name": lambda name, tensor: {f"{name}.x": tensor},
}


@pytest.mark.parametrize("change", TENSOR_CHANGES)
@pytest.mark.parametrize("which", range(0, 40, 16))
def test_weights_of_another_kind(lab, change, which):
    with lab.case("score") as case:
        members = _members(lab.package)
        with_metadata = members["model.safetensors"]
        tensors = safetensors.numpy.load(with_metadata)
        name = sorted(tensors)[which % len(tensors)]
        tensors |= TENSOR_CHANGES[change](name, tensors.pop(name))
        length = int.from_bytes(with_metadata[:8], "little")
        metadata = json.loads(with_metadata[8 : 8 + length]).get("__metadata__")
        weights = safetensors.numpy.save(tensors, metadata)
        _use(case, _pack(members | {"model.safetensors": weights}))


HEADERS = [
    b"", b"{}", b"[]", b"null", b"{", b'{"a": 1}', b'{"a": {}}', b"[" * 10_000, b'{"a":' * 10_000,
    b"\xff" * 50, b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', b'{"__metadata__": {"a": 1}}',
    b'{"__metadata__": []}',
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_headers_of_safetensors(lab, number):
    with lab.case("score") as case:
        members = _members(lab.package)
        for length in {len(HEADERS[number]), (2**63, 2**40, 0)[number % 3]}:
            weights = length.to_bytes(8, "little") + HEADERS[number] + bytes(64)
            _use(case, _pack(members | {"model.safetensors": weights}))
            assert not (case.folder / "s.tsv").exists(), "scored"


# ---- published weights


class Touch:
    """Unpickled by a careless reader, it makes the canary."""

    def __reduce__(self):
        return (open, ("canary", "w"))


def _torch(content, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _zip(pickled: bytes, compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return stream.getvalue()


WEIGHTS = {
    "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "HTML": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "empty": b"",
    "pickle": pickle.dumps(Touch()),
    "pickle of protocol 0": pickle.dumps(Touch(), protocol=0),
    "pickle in zip": _zip(pickle.dumps(Touch())),
    "deflated pickle in zip": _zip(pickle.dumps(Touch()), zipfile.ZIP_DEFLATED),
    "executes in torch.save": _torch({"a": Touch()}),
    "executes in the old torch.save": _torch({"a": Touch()}, _use_new_zipfile_serialization=False),
    "old torch.save": _torch({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False),
    "other tensors": _torch({"a": torch.zeros(2)}),
    "wrapped in module.": _torch({"module.pos_S": torch.zeros(1, 23, 64)}),
    "wrapped in state_dict": _torch({"state_dict": {"pos_S": torch.zeros(1, 23, 64)}}),
    "list": _torch([torch.zeros(2)]),
    "tensor": _torch(torch.zeros(2)),
    "number": _torch(1),
    "names that are numbers": _torch({1: torch.zeros(2)}),
    "empty table": _torch({}),
    "sparse": _torch({"pos_S": torch.zeros(2, 2).to_sparse()}),
    "meta": _torch({"pos_S": torch.zeros(2, device="meta")}),
    "claims 4 GB": _zip(b"\x80\x02X" + (2**32 - 1).to_bytes(4, "little") + b"x."),
    "deep": _zip(b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b"."),
    "no pickle": _zip(b"no pickle"),
    **{f"text {number}": text for number, text in enumerate(WHOLE_TEXTS[:8])},
}


def _bomb() -> bytes:
    """512 MiB in half a megabyte; takes seconds to make."""
    return _zip(b"X" + (512 << 20).to_bytes(4, "little") + bytes(512 << 20), zipfile.ZIP_DEFLATED)


def _score_with(case, lab, weights: bytes):
    data = case.copy(lab.data / "dev", "dev")
    for path in data.iterdir():
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    case.write("w.pth", weights)
    said = case.run(
        "--system", "aasist", "--weights", "w.pth", "--data", "dev", "--out", "s.txt", names="w.pth"
    )
    assert (case.folder / "s.txt").exists() == (said.status == 0)
    assert "weights_only=False" not in said.err, "advises to execute the file"
    return said


@pytest.mark.parametrize("kind", [*WEIGHTS, "bomb"])
def test_files_that_are_no_weights(lab, kind):
    weights = _bomb() if kind == "bomb" else WEIGHTS[kind]
    with lab.case("score") as case:
        assert _score_with(case, lab, weights).status == 1


@fuzz(20, edits=byte_edits())
def test_damaged_published_weights(lab, shared_data, edits):
    with lab.case("score") as case:
        weights = (shared_data / "aasist" / "AASIST-L.pth").read_bytes()
        said = _score_with(case, lab, apply(edits, weights))
        if said.status == 0:
            score = float((case.folder / "s.txt").read_text().split()[3])
            assert np.isfinite(score), "a score that is no number"


@pytest.mark.parametrize("number", range(0, len(ODD_TEXT), 9))
def test_odd_text_in_the_card(lab, number):
    with lab.case("unpack") as case:
        what = ODD_TEXT[number]
        _open(
            case,
            _pack(_members(lab.package) | {"card.md": what if isinstance(what, bytes) else what.encode()}),
        )
