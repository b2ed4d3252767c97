"""``corral hosts expand`` and ``fold``, and where the flags look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.corral import Corral

LAB = '[groups]\nfast = "node[1-2]"\n[hosts."node[1-3]"]\nslots = 4\n'


@pytest.fixture
def hosts(corral: Corral) -> Corral:
    """The command line, with a home and settings of its own."""
    for name in ("home", "xdg/corral", "here/deep"):
        (corral.folder / name).mkdir(parents=True)
    corral.environment.pop("CORRAL_SSH", None)
    corral.environment["HOME"] = str(corral.folder / "home")
    corral.environment["XDG_CONFIG_HOME"] = str(corral.folder / "xdg")
    corral.folder /= "here"
    return corral


def expand(hosts: Corral, *words: str) -> list[str]:
    return hosts("hosts", "expand", *words).stdout.split("\n")[:-1]


def test_names_come_one_a_line_in_the_order_written(hosts: Corral) -> None:
    assert expand(hosts, "b,n[2-3]", "a,n1!b") == ["b", "n2", "n3", "a", "n1"]
    assert expand(hosts, "-w", "n[1-3]", "-x", "n2") == ["n1", "n3"]
    assert expand(hosts, "-n", "n[1-100000]") == ["100000"]


def test_fold_takes_names_sets_and_standard_input(hosts: Corral) -> None:
    assert hosts("hosts", "fold", "n1", "n[2-3],m", "n7").stdout == "n[1-3,7],m\n"
    assert hosts("hosts", "fold", stdin="n1\nn2 me@n9:22\n").stdout == "n[1-2],me@n9:22\n"
    assert hosts("hosts", "fold", code=2).stderr.startswith("corral: which names?")
    assert "column 3" in hosts("hosts", "fold", stdin="n1\nn[3-1]", code=2).stderr


def test_json_has_what_is_configured(hosts: Corral) -> None:
    hosts.write("hosts.toml", LAB)
    found = hosts.json("hosts", "expand", "me@node1:22,x")
    assert found["count"] == 2
    one = found["hosts"][0]
    assert (one["name"], one["host"], one["user"], one["port"], one["slots"]) == (
        "me@node1:22", "node1", "me", 22, 4,
    )  # fmt: skip
    assert found["hosts"][1]["slots"] is None


def test_the_nearest_hosts_file_counts_then_the_users(hosts: Corral) -> None:
    assert "none are configured" in hosts("hosts", "expand", code=2).stderr
    hosts.write("../xdg/corral/hosts.toml", '[hosts."user[1-2]"]\n')
    assert expand(hosts) == ["user1", "user2"]
    hosts.write("hosts.toml", LAB)
    hosts.folder /= "deep"
    assert expand(hosts) == ["node1", "node2", "node3"]
    assert expand(hosts, "-g", "fast") == ["node1", "node2"]
    assert expand(hosts, "-a", "-x", "fast") == ["node3"]


@pytest.mark.system("root")
def test_a_hosts_file_of_somebody_else_is_named_and_not_read(hosts: Corral) -> None:
    path = hosts.write("hosts.toml", LAB)
    os.chown(path, 12345, 12345)
    done = hosts("hosts", "expand", "@fast", code=2)
    assert f"{path} belongs to somebody else" in done.stderr
    done = hosts("hosts", "expand", "--hostfile", "hosts.toml", "-g", "fast")
    assert (done.stdout, done.stderr) == ("node1\nnode2\n", "")


def test_hostfiles(hosts: Corral) -> None:
    hosts.write("hosts.toml", LAB)
    hosts.write("list.txt", "n[1-2] # two\n\n@fast\n")
    hosts.write("other.toml", '[hosts."o[1-2]"]\n')
    assert expand(hosts, "--hostfile", "list.txt") == ["n1", "n2", "node1", "node2"]
    assert expand(hosts, "--hostfile", "other.toml") == ["o1", "o2"]
    assert expand(hosts, "--hostfile", "other.toml", "-w", "o*!o1") == ["o2"]
    hosts.write("list.txt", "n1\nn2,\n")
    lines = hosts("hosts", "expand", "--hostfile", "list.txt", code=2).stderr.splitlines()
    assert lines[0] == "corral: list.txt:2: a name is missing here"
    assert lines[1:3] == ["  n2,", "     ^ column 4"]
    hosts.write("latin.txt", b"n\xe9\n")
    for file in ("nosuch", "nosuch.toml", "deep", "latin.txt"):
        assert file in hosts("hosts", "expand", "--hostfile", file, code=2).stderr


def config(hosts: Corral, path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_names_of_the_users_ssh(hosts: Corral) -> None:
    home = hosts.folder.parent / "home"
    config(hosts, home / ".ssh" / "config", "Host web1 *.lan\nInclude conf.d/*.conf\n")
    config(hosts, home / ".ssh" / "conf.d" / "a.conf", "Host web2\nHost db\n")
    hosts.write("lab", "Host lab1\n")
    assert expand(hosts, "@ssh") == ["web1", "web2", "db"]
    assert expand(hosts, "@ssh:web*!web1") == ["web2"]
    assert expand(hosts, "--ssh", "ssh -F lab", "@ssh") == ["lab1"]
    hosts.write("hosts.toml", 'ssh = "ssh -F lab"\n[groups]\nlab = "@ssh:lab*"\n')
    assert expand(hosts, "-g", "lab") == ["lab1"]
    assert expand(hosts) == ["lab1"]
    hosts.environment["CORRAL_SSH"] = "ssh -F none"
    assert "matches no host of @ssh" in hosts("hosts", "expand", "-g", "lab", code=2).stderr


def test_the_ssh_of_a_command(hosts: Corral) -> None:
    hosts.environment["CORRAL_SSH"] = "ssh -v"
    hosts.write("hosts.toml", 'ssh = "ssh -4"\n[hosts.own]\nssh = "ssh -6"\n')
    found = hosts.json("hosts", "expand", "n1,own")["hosts"]
    assert [one["ssh"] for one in found] == ["ssh -v", "ssh -6"]
    hosts.environment["CORRAL_SSH"] = ""
    assert hosts.json("hosts", "expand", "n1")["hosts"][0]["ssh"] == "ssh -4"
    found = hosts.json("hosts", "expand", "n1", "--ssh", "ssh -q")["hosts"]
    assert found[0]["ssh"] == "ssh -q"
    assert "cannot be split" in hosts("hosts", "expand", "n1", "--ssh", "'", code=2).stderr


def test_all_errors_of_the_hosts_file_are_shown(hosts: Corral) -> None:
    hosts.write("hosts.toml", '[groups]\nfast = "n[3-1]"\n[hosts.n1]\nslos = 4\n')
    hosts.folder /= "deep"
    done = hosts("hosts", "expand", code=2)
    path = hosts.folder.parent / "hosts.toml"
    assert done.stderr.splitlines() == [
        f"corral: {path}:2:11: '3-1' runs backwards",
        '  fast = "n[3-1]"',
        "            ^ write 1-3",
        f"{path}:4:1: unknown key `slos`",
        "  slos = 4",
        "  ^^^^ did you mean `slots`?",
        "  try: 2 errors; nothing was started",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["n[1-"], "column 2"), (["@nosuch"], "no groups are configured"), (["n1 n2"], "use a comma"),
     (["-w", "-oX"], "does not start with -"), ([""], "the set is empty"),
     (["n[1-999999999]"], "999999999 hosts"), (["n1", "-x", "n1"], "no host is left")],
)  # fmt: skip
def test_wrong_usage(hosts: Corral, words: list[str], said: str) -> None:
    done = hosts("hosts", "expand", *words, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert "\n  try: " in done.stderr
