"""Which names of an ssh_config count, over includes; and which file is the one."""

from __future__ import annotations

import fnmatch

import pytest

from corral.errors import UsageError
from corral.hosts import sshconfig

CONFIG = """
# Host commented
Host gate
  HostName 10.0.0.1
host = web1 "web2" *.lan !web3 web?   # web9
HOST\tdb
  User me
Host user@x a:b -evil a/b
Match host matched
HostKeyAlias nobody
Include conf.d/* "~/other"
Include /etc/none
Host gate late
"""


class Files:
    """A file system that stands in a table."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def glob(self, pattern: str) -> list[str]:
        return sorted(fnmatch.filter(self.files, pattern))


def test_concrete_names_in_their_order_over_includes() -> None:
    files = Files(
        {
            "lab": CONFIG,
            "~/.ssh/conf.d/b": "Host b1 b2\n",
            "~/.ssh/conf.d/a": "Host a1\nInclude conf.d/c",
            "~/other": "Host o1",
        }
    )
    expected = "gate web1 web2 db a1 b1 b2 o1 late"
    assert sshconfig.names("lab", files) == tuple(expected.split())


def test_a_file_that_includes_itself_ends() -> None:
    files = Files({"~/.ssh/config": "Host a\nInclude config\nHost b"})
    assert sshconfig.names("~/.ssh/config", files) == ("a", "b")


def test_no_file_has_no_names() -> None:
    assert sshconfig.names("nosuch", Files({})) == ()
    assert sshconfig.names(None, Files({"~/.ssh/config": "Host a"})) == ()


@pytest.mark.parametrize(
    ("command", "file"),
    [(None, "~/.ssh/config"), ("ssh", "~/.ssh/config"), ("ssh -v -F lab", "lab"), ("ssh -Flab", "lab"),
     ("ssh -F 'my lab' -4", "my lab"), ("ssh -F none", None), ("ssh -F", "~/.ssh/config")],
)  # fmt: skip
def test_the_config_file_of_a_command(command: str | None, file: str | None) -> None:
    assert sshconfig.config(command) == file


@pytest.mark.parametrize("command", ["", "  ", "ssh 'x"])
def test_what_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match="ssh command"):
        sshconfig.check(command)
