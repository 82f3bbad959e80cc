import stat
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from penstock.core.errors import Fatal
from penstock.stack.supervisor import Program, Supervisor

AWKWARD = 'a b%c"d\\e,f=$g;h#i'


def written(tmp_path, **changes) -> Path:
    program = Program(
        name="one",
        command=("/bin/echo", "plain", AWKWARD),
        environment={"SECRET": AWKWARD},
        log=tmp_path / "one.log",
        folder=tmp_path,
        **changes,
    )
    supervisor = Supervisor(tmp_path, 9001, "p%w", tmp_path, instance="test")
    supervisor.write([program])
    return supervisor.conf


def test_supervisord_reads_back_awkward_values_as_they_were(tmp_path):
    options = ServerOptions()
    options.realize(["-c", str(written(tmp_path))])
    program = options.process_group_configs[0].process_configs[0]
    assert program.environment["SECRET"] == AWKWARD
    assert options.server_configs[0]["password"] == "p%w"


def test_the_config_file_is_for_its_owner_only(tmp_path):
    assert stat.S_IMODE(written(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize("value", ["a\nb", "both ' and \"", "a ;comment", "a #comment"])
def test_a_value_that_supervisord_cannot_carry_is_refused(tmp_path, value):
    program = Program("one", ("/bin/true",), {"KEY": value}, tmp_path / "log", tmp_path)
    with pytest.raises(Fatal, match="line break"):
        program.section()


def test_the_password_is_not_in_the_repr(tmp_path):
    supervisor = Supervisor(tmp_path, 9001, "hush", tmp_path, instance="test")
    assert "hush" not in repr(supervisor) + repr(supervisor.rpc)
