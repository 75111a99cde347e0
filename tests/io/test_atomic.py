"""Files that are whole or not there; and what is no file is written into."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from asvtk.io.atomic import atomic_path, write_text
from asvtk.io.errors import AsvtkError


def test_fault_0_what_is_no_file_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through the pipe\n")
    reader.join()
    assert heard == ["through the pipe\n"] and stat.S_ISFIFO(pipe.stat().st_mode)
    null, link = tmp_path / "null", tmp_path / "link"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.stat("/dev/null").st_rdev)
    except PermissionError:
        null = "/dev/null"
        assert os.geteuid() != 0
    link.symlink_to(null)
    for path in (null, link):
        write_text(path, "x")
        assert stat.S_ISCHR(os.stat(path).st_mode)
    assert link.is_symlink() and {path.name for path in tmp_path.iterdir()} <= {"pipe", "null", "link"}


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_fault_0_an_open_file_is_gone_on_with(tmp_path, name):
    """Also where standard output is a file: what stands in it already stays."""
    program = "from asvtk.io.atomic import write_text\n" + (
        f"print('a'); write_text({name!r}, 'b\\n'); print('c', end='')"
    )
    out = tmp_path / "out"
    with open(out, "w") as stream:
        subprocess.run([sys.executable, "-c", program], stdout=stream, check=True)
    assert out.read_text() == "a\nb\nc"


def test_fault_0_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, dangling = tmp_path / "there" / "a.txt", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    link.symlink_to("there/a.txt")
    dangling.symlink_to("made/b.txt")
    write_text(link, "new")
    write_text(dangling, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert dangling.is_symlink() and (tmp_path / "made" / "b.txt").read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(AsvtkError, match="loop: cannot be written: Too many levels"):
        write_text(tmp_path / "loop", "x")


def test_a_fault_leaves_the_earlier_version_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), atomic_path(path):  # what is read meanwhile is no fault of ours
        open(tmp_path / "missing")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_long_names_and_names_that_are_no_utf8(tmp_path):
    for name in ("ä" * 127, "x" * 255, os.fsdecode(b"\xff.txt")):
        write_text(tmp_path / name, name)
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).read_text()
        os.unlink(tmp_path / name)
    with pytest.raises(AsvtkError, match="cannot be written: File name too long"):
        write_text(tmp_path / ("x" * 256), "x")


def test_a_folder_and_a_file_as_folder_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file" / "x", "Not a directory|exists")):
        with pytest.raises(AsvtkError, match=f"cannot be written: {reason}"):
            write_text(path, "x")


def test_fault_20_what_a_killed_writer_left_is_taken_over(tmp_path):
    path = tmp_path / "curves.png"
    program = (
        "import os, sys; from asvtk.io.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half of it, and long'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode == -9
    assert os.listdir(tmp_path) == [".curves.png.tmp"]
    write_text(path, "whole")
    assert os.listdir(tmp_path) == ["curves.png"] and path.read_text() == "whole"


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a"]
    (tmp_path / ".a.tmp").symlink_to(path)  # nobody is led elsewhere
    write_text(path, "third")
    assert path.read_text() == "third" and (tmp_path / ".a.tmp").is_symlink()
