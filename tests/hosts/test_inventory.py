"""What hosts.toml, hostfiles and flags say together; all errors of a file at once, with places."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from corral.errors import UsageError
from corral.hosts import hostsfile, inventory
from corral.hosts.inventory import Inventory, Settings, Table, select
from corral.model.host import LOCAL, HostSpec

LAB = """
ssh = "ssh -F lab"

[groups]
fast = "node[1-3]"
rest = "@all!@fast"
mixed = ["@fast!node2", "big"]
down = []
cloud = "@ssh:web*"

[hosts."node[1-5]"]
slots = 4
tags = ["cpu"]
env = { A = "1", B = "1" }
setup = "module load python"

[hosts.node2]
tags = ["gpu", "cpu"]
env = { B = "2" }
host = "10.0.0.2"
port = 2222

[hosts."@fast"]
python = "/opt/python3"

[hosts."8*big,root@old"]
ssh = "ssh -J gate"
user = "me"
workdir = "/scratch"
"""


def aliases(ssh: str | None) -> Sequence[str]:
    return ("web1", "web2", "db") if ssh == "ssh -F lab" else ()


def lab() -> Inventory:
    return hostsfile.load(LAB, path="hosts.toml", aliases=aliases)


def names(
    *where: str,
    without: Sequence[str] = (),
    groups: Sequence[str] = (),
    everything: bool = False,
    hostfile: str = "",
    known: Inventory | None = None,
) -> str:
    specs = select(
        known or lab(),
        where=where,
        without=without,
        groups=groups,
        everything=everything,
        listed=inventory.lines(hostfile, path="hosts.txt") if hostfile else (),
        aliases=aliases,
    )
    return " ".join(spec.name for spec in specs)


def one(text: str, *, ssh: str | None = None) -> HostSpec:
    (spec,) = select(lab(), where=[text], ssh=ssh, aliases=aliases)
    return spec


ALL = "node1 node2 node3 node4 node5 big root@old web1 web2"


def test_without_flags_all_configured_hosts_are_meant() -> None:
    assert names() == ALL


def test_without_flags_and_configuration_no_host_is_meant() -> None:
    assert select(Inventory()) == ()
    only = hostsfile.load('ssh = "ssh -v"\n[groups]\ndown = []\n', path="hosts.toml")
    assert select(only) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("@all", ALL), ("@*", ALL), ("@fast", "node1 node2 node3"), ("@mixed", "node1 node3 big"),
     ("@gpu", "node2"), ("@cpu", "node1 node2 node3 node4 node5"),
     ("@rest", "node4 node5 big root@old web1 web2"), ("@ssh", "web1 web2 db"),
     ("@ssh:*b*!web1", "web2 db"), ("@cloud", "web1 web2"), ("node?!gpu", "node1 node3 node4 node5"),
     ("!@cpu", "big root@old web1 web2"), ("node[3-4],@gpu", "node3 node4 node2")],
)  # fmt: skip
def test_groups_tags_and_ssh_names(text: str, expected: str) -> None:
    assert names(text) == expected


def test_flags_add_up_and_exclusions_come_last() -> None:
    assert names("x", "node1", groups=["fast"]) == "x node1 node2 node3"
    assert names("x", groups=["cpu!fast,gpu"], hostfile="y\n") == "x node4 node5 node2 y"
    assert names(everything=True, without=["@fast", "big,@cloud"]) == "node4 node5 root@old"
    assert names(without=["fast", "node4"]) == "node5 big root@old web1 web2"
    assert names("x,y", without=["zzz", "@down", "zz*", "y"]) == "x"
    assert names("me@x:22,y", without=["x"]) == "y"
    assert names(groups=["fast,gpu", "@rest!cpu"]) == "node1 node2 node3 big root@old web1 web2"
    assert names(groups=["!cpu"]) == "big root@old web1 web2"


def test_a_hostfile_has_sets_comments_and_blank_lines() -> None:
    text = "# the lab\n\nn[1-2]  # old ones\r\n  2*me@big:22\n@gpu!node2,n1\n"
    assert names(hostfile=text) == "n1 n2 me@big:22"
    assert names("z", hostfile="n1") == "z n1"
    with pytest.raises(UsageError, match="'#' is in no host's name"):
        names(hostfile="n1#x")


def test_a_host_may_be_called_like_a_group() -> None:
    text = '[groups]\nrest = "@all!n1"\n[hosts."n[1-2],rest"]\n[hosts.n3]\n'
    known = hostsfile.load(text, path="hosts.toml")
    assert names("@all", known=known) == "n1 n2 rest n3"
    assert names("rest", known=known) == "rest"
    assert names("!rest", known=known) == "n1"


def test_settings_are_laid_over_one_another() -> None:
    spec = one("node2")
    assert (spec.name, spec.host, spec.port, spec.slots) == ("node2", "10.0.0.2", 2222, 4)
    assert spec.tags == ("cpu", "gpu")
    assert spec.env == {"A": "1", "B": "2"}
    assert (spec.setup, spec.python) == ("module load python", "/opt/python3")
    assert (spec.user, spec.workdir, spec.ssh) == (None, None, "ssh -F lab")


def test_settings_hold_for_a_host_named_with_user_or_port_whose_own_win() -> None:
    spec = one("9*you@node2:22")
    assert (spec.name, spec.host, spec.user, spec.port, spec.slots) == (
        "you@node2:22", "10.0.0.2", "you", 22, 9,
    )  # fmt: skip
    assert spec.tags == ("cpu", "gpu")


def test_settings_of_one_user_hold_for_that_user_only() -> None:
    assert one("root@old").workdir == "/scratch"
    assert one("root@old").user == "root"
    assert one("old").workdir is None
    assert one("you@old").workdir is None


def test_settings_of_each_of_many_hosts_are_found_at_once() -> None:
    """Bug: each table was held against each host; a table a host took minutes for 10,000."""
    tables = tuple(
        Table(text=f"n{number}", settings=Settings(slots=number)) for number in range(1, 4001)
    )
    started = time.process_time()
    found = select(Inventory(tables=tables), where=["n[1-4000]"])
    assert [spec.slots for spec in found] == list(range(1, 4001))
    assert time.process_time() - started < 5


def test_slots_may_stand_in_the_set_of_a_table() -> None:
    assert one("big").slots == 8
    assert one("2*big").slots == 2


def test_ssh_is_the_hosts_own_then_the_commands_then_the_files() -> None:
    assert one("big", ssh="ssh -v").ssh == "ssh -J gate"
    assert one("node1", ssh="ssh -v").ssh == "ssh -v"
    assert one("unheard").ssh == "ssh -F lab"
    assert select(Inventory(), where=["x"])[0].ssh is None


def test_localhost_is_this_machine() -> None:
    assert (one("4*localhost").host, one("4*localhost").slots) == (LOCAL, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"where": ["@down"]}, "means no host"),
        ({"where": ["node1"], "without": ["@all"]}, "no host is left"),
        ({"groups": ["fsat"]}, "did you mean @fast?"),
        ({"groups": [""]}, "the set is empty"),
        ({"without": ["@nosuch"]}, "no group @nosuch"),
        ({"where": ["n[1-60000]", "m[1-60000]"]}, "more than 100000"),
    ],
    ids=["empty group", "all excluded", "unknown group", "no group", "unknown excluded", "many"],
)
def test_wrong_flags(given: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        select(lab(), aliases=aliases, **given)  # type: ignore[arg-type]  # flags by their name
    assert said in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize("given", [{"everything": True}, {"without": ["n1"]}])
def test_nothing_configured_is_said(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="no hosts are configured"):
        select(Inventory(), **given)  # type: ignore[arg-type]  # flags by their name


def test_an_error_in_a_hostfile_names_its_line() -> None:
    with pytest.raises(UsageError) as raised:
        names(hostfile="n1\n\n  n2 slots=4\n")
    error = raised.value
    assert (error.message, error.text, error.column) == (
        "hosts.txt:3: a blank between names", "n2 slots=4", 3,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"hosts\.txt: there is no host"):
        inventory.lines("# nobody\n", path="hosts.txt")


BAD = """shh = "ssh"
ssh = "ssh 'x"
[groups]
"a b" = "n1"
many = 3
fast = "n1,node[3-1]"
lines = [
  "n1", # fine
  "n[1-2] m",
]
[hosts."node[1-"]
slots = 0
[hosts.n1]
slos = 4
tags = ["a", "ssh"]
port = "22"
host = "me@x"
user = "-x"
setup = \"\"\"
slots = 3
\"\"\"
pyhton = "python3"
env = { "A B" = "1" }
[hosts]
n2 = { slots = 1, workdri = "x" }
n3 = 4
n4 = { python = "my python", env = { A = "\\u0000" }, setup = "a\\u0000b" }
n5 = { workdir = "/\\u0000", ssh = "ssh\\u0000", host = "fe80::1%e 0" }
"""
SAID = [
    "1:1: unknown key `shh` | did you mean `ssh`?",
    "2:1: `ssh` must be a command",
    "4:2: 'a b' is no name for a group | letters",
    "5:1: `many` must be a set, or a list of sets | it is 3",
    "6:17: '3-1' runs backwards | write 1-3",
    "9:10: a blank between names | use a comma: n[1-2],m",
    "11:13: [ is not closed | close it with ]",
    "12:1: `slots` must be a number from 1 to 4096 | it is 0",
    "14:1: unknown key `slos` | did you mean `slots`?",
    "15:1: `tags` must be a list of names",
    '16:1: `port` must be a number from 1 to 65535 | it is "22"',
    "17:1: `host` must be an address or a name",
    "18:1: `user` must be a user's name",
    "22:1: unknown key `pyhton` | did you mean `python`?",
    "23:1: `env` must be a table of texts",
    "25:19: unknown key `workdri` | did you mean `workdir`?",
    "26:1: `n3` must be a table",
    "27:8: `python` must be the path of a Python",
    "27:30: `env` must be a table of texts",
    "27:54: `setup` must be shell lines",
    "28:8: `workdir` must be a folder",
    "28:29: `ssh` must be a command",
    "28:48: `host` must be an address or a name",
]


def shown(error: UsageError) -> list[str]:
    """Give what is said of each place, with its hint, and see that the caret is under it."""
    found = []
    lines = error.message.split("\n")
    for head, source, mark in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        column = int(head.split(":")[2])
        assert mark.index("^") - 2 == column - 1, (head, source, mark)
        found.append(f"{head.removeprefix('hosts.toml:')} | {mark.lstrip(' ^')}")
    return found


def test_all_errors_of_a_file_come_at_once_with_their_places() -> None:
    with pytest.raises(UsageError) as raised:
        hostsfile.load(BAD, path="hosts.toml")
    found = shown(raised.value)
    assert len(found) == len(SAID)
    for line, expected in zip(found, SAID, strict=True):
        assert line.startswith(expected), (line, expected)
    assert raised.value.hint == f"{len(SAID)} errors; nothing was started"


def test_what_sets_refer_to_is_looked_up_when_each_can_be_read() -> None:
    text = (
        '[groups]\na = "n1,@fsat"\nfast = "@a,n2"\nx = ["n1", "@y"]\ny = "@x"\nz = "zz*"\n'
        '[hosts."n[1-2]"]\nhost = "10.0.0.1"\n[hosts."n1,@web"]\n'
    )
    with pytest.raises(UsageError) as raised:
        hostsfile.load(text, path="hosts.toml")
    assert shown(raised.value) == [
        "2:9: there is no group @fsat | did you mean @fast?",
        "4:13: @y refers to itself: @y -> @x -> @y | break the ring",
        "5:6: @x refers to itself: @x -> @y -> @x | break the ring",
        "8:1: one address cannot be that of 2 hosts | a table for each, or leave `host` out",
        "9:12: there is no group @web | groups are: @a, @fast, @x, @y, @z",
    ]


@pytest.mark.parametrize("text", ["[groups", "a = 1\na = 2", "[[hosts]]\nx = 1"])
def test_what_is_no_toml_or_has_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"hosts\.toml"):
        hostsfile.load(text, path="hosts.toml")


def test_an_empty_file_configures_nothing() -> None:
    assert hostsfile.load("", path="hosts.toml") == Inventory()
