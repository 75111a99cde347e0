"""Text, JSON and YAML of any kind: read right, or one line that names the file."""

import bz2
import gzip
import lzma
import os
import threading

import pytest

from asvtk.io.config import load_yaml, parse_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_float, parse_int, parse_json, read_json, read_json_lines, read_text

TEXT = "a 1\nb 2\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_text_is_the_same_in_every_wrapping(tmp_path, pack, mark, end):
    path = tmp_path / "table"
    path.write_bytes(pack(mark + TEXT.encode().replace(b"\n", end)))
    assert read_text(path) == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_of_two_members_are_read_and_cut_ones_refused(tmp_path, pack):
    path = tmp_path / "table"
    path.write_bytes(pack(b"a 1\n") + pack(b"b 2\n"))
    assert read_text(path) == TEXT
    whole = pack(os.urandom(5000).hex().encode())
    for broken in (whole[:-9], whole[: len(whole) // 2], whole[:60] + b"\0" * 40 + whole[100:]):
        path.write_bytes(broken)
        with pytest.raises(AsvtkError, match=r"table: (the \w+ file is cut off|is a damaged \w+ file)"):
            read_text(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, pack):
    path = tmp_path / "bomb"
    path.write_bytes(pack(bytes(9 << 20)))
    with pytest.raises(AsvtkError, match="bomb: has more than 8 MiB"):
        read_text(path, limit=8 << 20)


def test_a_pipe_is_read_and_one_without_a_writer_refused(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(AsvtkError, match="fifo: is a pipe into which nobody writes"):
        read_text(path)
    inlet, outlet = os.pipe()

    def write():
        for line in TEXT.splitlines(keepends=True):
            os.write(outlet, line.encode())
        os.close(outlet)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(f"/dev/fd/{inlet}") == TEXT
    writer.join()
    os.close(inlet)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a 1\nb \xff\n", "file:2: is not UTF-8"),
        ("a 1".encode("utf-16"), "file: is no plain text"),
        (b"a\0b", "file: is no plain text"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(AsvtkError, match=message):
        read_text(path)
    for missing in (tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(AsvtkError, match="no such file|is a folder|cannot be read"):
            read_text(missing)


def test_fault_4_numbers_are_decimal_digits():
    assert [parse_float(text) for text in ("1", "-1.5e-3", ".5", "5.", "+inf")] == [
        1,
        -1.5e-3,
        0.5,
        5,
        float("inf"),
    ]
    for text in ("1_0.5", "", "1,5", "0x10", "١", "1 2", "--1", "1e", "."):
        with pytest.raises(ValueError, match="is no number"):
            parse_float(text)
    assert parse_int("-012") == -12
    for text in ("1_0", "1.0", "", "9" * 5000, "１"):
        with pytest.raises(ValueError, match="is no whole number"):
            parse_int(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"a": ' * 80 + "1" + "}" * 80, "[]", "null", '{"a": NaN}', '{"a": 1e999}',
     '{"a": 1, "a": 2}', '{"a": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_fault_16_json_from_disk_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(AsvtkError) as refusal:
        read_json(path)
    assert str(refusal.value).startswith(f"{path}: ") and len(str(refusal.value)) < 300


def test_json_is_read_with_a_mark_and_logs_to_their_last_whole_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"loss": NaN}\r\n\r\n{"loss": 2}\r\n{"lo')
    assert [record["loss"] for record in read_json_lines(path)][1:] == [2]
    assert parse_json("[1]", "here", list) == [1]
    path.write_text('{"loss": 1}\n{\n')
    with pytest.raises(AsvtkError, match="log.jsonl:2: is no JSON"):
        read_json_lines(path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "a: " + "[" * 40 + "]" * 40, "a: 2001-99-99", "a: !!int ''", "a: !!bool maybe",
     "a: !!timestamp x", "a: " + "9" * 5000, "a: 1\na: 2", "a: {b: 1, b: 2}", "a: !!python/name:os.system x",
     "a: &a [*a]", "a: *b", "a: '", "? [1]\n: 2", "a: !!float x", "a\x01: 2", "b: " + "x" * 300_000,
     "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])],
)  # fmt: skip
def test_fault_16_yaml_from_disk_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(AsvtkError) as refusal:
        load_yaml(path)
    assert str(refusal.value).startswith(f"{path}: ") and len(str(refusal.value)) < 400


def test_yaml_is_read_with_a_mark_and_aliases(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &x {b: 1}\r\nc:\r\n  <<: *x\r\n  d: 2\r\n")
    assert load_yaml(path) == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}
    assert parse_yaml("[3, 12]", "override") == [3, 12]
