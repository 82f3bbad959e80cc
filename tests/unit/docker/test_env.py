import os
import re
import stat

import pytest
from cryptography.fernet import Fernet

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT
from penstock.stack import env
from penstock.stack.env import SECRETS, read_env, write_env

EXAMPLE = PROJECT / ".env.example"


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".env"


def _write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def _mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestWrite:
    def test_every_secret_is_generated_and_differs_from_the_others_and_from_anothers(self, path, tmp_path):
        write_env(path, EXAMPLE)
        write_env(tmp_path / "other", EXAMPLE)
        one, other = read_env(path), read_env(tmp_path / "other")
        secrets = [*(one[name] for name in SECRETS), *(other[name] for name in SECRETS)]
        assert all(len(secret) >= 24 for secret in secrets)
        assert len(set(secrets)) == 2 * len(SECRETS)

    def test_the_fernet_key_is_one(self, path):
        write_env(path, EXAMPLE)
        Fernet(read_env(path)["AIRFLOW_FERNET_KEY"])

    def test_the_comments_come_along(self, path):
        write_env(path, EXAMPLE)
        without_values = re.sub(r"(?m)^(\w+)=.*$", r"\1=", path.read_text())
        assert without_values == re.sub(r"(?m)^(\w+)=.*$", r"\1=", EXAMPLE.read_text())

    def test_only_the_owner_may_read_it_from_the_first_byte(self, path, monkeypatch):
        modes = []
        monkeypatch.setattr(os, "fsync", lambda handle: modes.append(stat.S_IMODE(os.fstat(handle).st_mode)))
        before = os.umask(0)
        try:
            write_env(path, EXAMPLE)
        finally:
            os.umask(before)
        assert modes == [0o600]
        assert _mode(path) == 0o600

    def test_again_it_changes_nothing(self, path):
        write_env(path, EXAMPLE)
        before = (path.read_bytes(), path.stat().st_ino)
        assert write_env(path, EXAMPLE) == []
        assert (path.read_bytes(), path.stat().st_ino) == before

    def test_what_a_person_set_stays_and_what_is_missing_is_added_with_its_comment(self, path, tmp_path):
        example = _write(tmp_path / "example", "# the host\nHOST=a\n\n# a header\n\n# who\n# asks\nUSER=me\n")
        _write(path, "# mine\nHOST='b c'\nOWN=1\n")
        assert write_env(path, example) == ["USER"]
        assert path.read_text() == "# mine\nHOST='b c'\nOWN=1\n# who\n# asks\nUSER=me\n"

    def test_an_empty_secret_is_filled_where_it_stands(self, path, tmp_path):
        example = _write(tmp_path / "example", "# p\nPOSTGRES_PASSWORD=\n")
        _write(path, "POSTGRES_PASSWORD=\nHOST=b\n")
        assert write_env(path, example) == ["POSTGRES_PASSWORD"]
        first, second = path.read_text().splitlines()
        assert re.fullmatch(r"POSTGRES_PASSWORD=[\w-]{43}", first)
        assert second == "HOST=b"

    @pytest.mark.parametrize("complete", [True, False])
    def test_a_file_that_others_could_read_is_closed_to_them(self, path, complete):
        write_env(path, EXAMPLE)
        if not complete:
            path.write_text("LIVE=1\n")
        path.chmod(0o644)
        write_env(path, EXAMPLE)
        assert _mode(path) == 0o600

    def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(self, path, monkeypatch):
        _write(path, "LIVE=1\n")

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_env(path, EXAMPLE)
        assert [each.name for each in path.parent.iterdir()] == [".env"]
        assert path.read_text() == "LIVE=1\n"

    def test_a_linked_file_stays_linked(self, path, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere" / "env")
        write_env(path, EXAMPLE)
        assert path.is_symlink()
        assert _mode(tmp_path / "elsewhere" / "env") == 0o600

    def test_a_secret_that_would_break_an_address_is_refused(self, path):
        _write(path, "AIRFLOW_DB_PASSWORD=p@ss/word\n")
        with pytest.raises(Fatal, match="AIRFLOW_DB_PASSWORD would break the addresses") as refusal:
            write_env(path, EXAMPLE)
        assert "p@ss" not in str(refusal.value)

    def test_the_user_id_of_containers_is_the_persons_but_never_roots(self, path, tmp_path, monkeypatch):
        for uid, expected in ((1234, "1234"), (0, "50000")):
            monkeypatch.setattr(env.os, "getuid", lambda uid=uid: uid)
            write_env(tmp_path / str(uid), EXAMPLE)
            assert read_env(tmp_path / str(uid))["AIRFLOW_UID"] == expected


class TestRead:
    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("A=b", "b"),
            ("A=", ""),
            ("A= b ", "b"),
            ("A=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A=#c", "#c"),
            ("A= #c", "#c"),
            ("A=b\t#c", "b\t#c"),
            ("A=b=c", "b=c"),
            ("A='b # c'", "b # c"),
            ("A='b' # note", "b"),
            ("A='$b'", "$b"),
            ("A=''", ""),
            ('A="b c"', "b c"),
            ("A=[1.5, 2]", "[1.5, 2]"),
            ("A=it's", "it's"),
        ],
    )
    def test_a_line_means_what_it_means_to_docker_compose(self, env_file, compose, line, value):
        _write(env_file, f"{env_file.read_text()}\n# more\n{line}\n")
        assert read_env(env_file)["A"] == value
        printed = compose("config", "--environment").stdout.splitlines()
        assert f"A={value}" in printed

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("A b", "is not of the form NAME=VALUE"),
            ("A = b", "is not of the form NAME=VALUE"),
            ("export A=b", "is not of the form NAME=VALUE"),
            ("1A=b", "is not of the form NAME=VALUE"),
            ("A='b", "has a quote that does not close"),
            ("A='b'c", "has a quote that does not close, or goes on after it"),
            ("A=b$c", r"has a \$, which Docker Compose would expand"),
            ('A="$c"', r"has a \$, which Docker Compose would expand"),
            (r'A="b\n"', "has a backslash in double quotes"),
        ],
    )
    def test_any_other_line_is_refused_by_its_number_and_not_shown(self, path, line, reason):
        _write(path, f"# first\n\n{line}\n")
        with pytest.raises(Fatal, match=f"line 3.*{reason}") as refusal:
            read_env(path)
        assert line not in str(refusal.value)

    def test_a_key_that_is_set_twice_is_refused(self, path):
        _write(path, "A=1\nB=2\nA=3\n")
        with pytest.raises(Fatal, match="line 3: A is set a second time, after line 1"):
            read_env(path)

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
    def test_a_file_that_others_may_use_is_refused(self, path, mode):
        _write(path, "A=1\n", mode)
        with pytest.raises(Fatal, match="chmod 600"):
            read_env(path)

    def test_a_missing_file_is_named_with_the_remedy(self, path):
        with pytest.raises(Fatal, match="make env"):
            read_env(path)

    def test_lines_may_end_as_on_windows(self, path):
        path.touch(0o600)
        path.write_bytes(b"A=1\r\nB=2\r\n")
        assert read_env(path) == {"A": "1", "B": "2"}
