"""The data folder and its lock."""

import os
import stat
from pathlib import Path

import pytest

from launch.errors import FolderError
from launch.folder import DataFolder


def test_a_folder_is_made_marked_and_closed_to_others(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "new" / "data")
    folder.lock()
    assert (folder.path / "bfc-lab.json").exists()
    mode = stat.S_IMODE(folder.path.stat().st_mode)
    assert mode == (0o711 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o700 == 0o700
    folder.unlock()


def test_two_servers_never_hold_one_folder(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    first.lock()
    first.announce({"pid": 12, "url": "http://127.0.0.1:1"})
    with pytest.raises(FolderError, match=r"another server \(process 12, http://127.0.0.1:1\) is using"):
        second.lock()
    assert second.in_use()
    first.unlock()
    assert not second.in_use()
    second.lock()
    second.unlock()


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tmp_path.stat().st_mode
    with pytest.raises(FolderError, match="not empty and is not a data folder"):
        DataFolder(tmp_path).lock()
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    assert tmp_path.stat().st_mode == before


def test_an_empty_disk_is_taken_with_what_its_file_system_put_there(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    folder = DataFolder(tmp_path)
    folder.lock()
    folder.unlock()


def test_a_path_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FolderError, match=r"cannot be used: (Not a directory|File exists)"):
            DataFolder(path).lock()


def test_the_password_is_kept_and_closed(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.lock()
    password = folder.password()
    assert len(password) >= 24
    assert DataFolder(tmp_path / "data").password() == password
    assert stat.S_IMODE((folder.path / "password").stat().st_mode) == 0o600
    folder.unlock()


def test_a_damaged_announcement_is_no_announcement(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    for text in ("{", "[]", ""):
        (tmp_path / "server.json").write_text(text)
        assert folder.announced() == {}
