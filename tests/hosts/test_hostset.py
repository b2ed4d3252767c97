"""What a set of hosts means, what it cannot mean and where, and that folding undoes expanding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.hosts.hostset import MOST, Cover, expand, fold
from corral.model.host import LOCAL

MEANT = {
    "braces": ("n{1..3}", "n1 n2 n3"),
    "padded braces": ("n{08..10}", "n08 n09 n10"),
    "braces padded by the wider end, as in bash": ("n{1..03}", "n01 n02 n03"),
    "braces count down": ("n{3..1}", "n3 n2 n1"),
    "braces with a step": ("n{1..7..3}", "n1 n4 n7"),
    "braces with corral's step": ("n{1..7:3}", "n1 n4 n7"),
    "letters in braces": ("h{a..c}", "ha hb hc"),
    "words in braces": ("{web,db}1", "web1 db1"),
    "letters in brackets": ("h[a-c,x]", "ha hb hc hx"),
    "brackets side by side": ("n[1-2][3-4]", "n13 n14 n23 n24"),
    "blanks around operators": (" n1 , n2 ! n1 ", "n2"),
    "addresses": ("10.0.0.5..7", "10.0.0.5 10.0.0.6 10.0.0.7"),
    "addresses with a port": ("10.0.0.9..10:2222", "10.0.0.9:2222 10.0.0.10:2222"),
    "addresses with a user": ("me@10.0.0.1..2", "me@10.0.0.1 me@10.0.0.2"),
    "addresses over the border": ("10.0.0.255..10.0.1.0", "10.0.0.255 10.0.1.0"),
    "addresses in brackets": ("192.168.1.[1-2]", "192.168.1.1 192.168.1.2"),
    "user and port": ("me@n[1-2]:2222", "me@n1:2222 me@n2:2222"),
    "several ports": ("127.0.0.1:[2201-2202]", "127.0.0.1:2201 127.0.0.1:2202"),
    "IPv6": ("[2001:db8::1]:22,me@[fe80::1%eth0]", "[2001:db8::1]:22 me@[fe80::1%eth0]"),
    "the order written": ("z,n[2-3],a,n1", "z n2 n3 a n1"),
    "a host twice": ("b,a,b", "b a"),
    "operators from left to right": ("a,b!a,a", "b a"),
    "a bare name takes any user and port away": ("me@n1:22,n2!n1", "n2"),
    "a user takes only that one away": ("me@n1,you@n1!me@n1", "you@n1"),
    "a bare name keeps any user": ("me@n1,n2&n1", "me@n1"),
}  # fmt: skip


def names(text: str, groups: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    return [spec.name for spec in expand(text, groups=Table(groups or {}))]


class Table:
    """Groups as they are written."""

    def __init__(self, sets: Mapping[str, Sequence[str]]) -> None:
        self.sets = sets

    def names(self) -> Sequence[str]:
        return tuple(self.sets)

    def find(self, group: str) -> Sequence[str] | None:
        return self.sets.get(group)


@pytest.mark.parametrize(("text", "expected"), MEANT.values(), ids=MEANT)
def test_a_set_means(text: str, expected: str) -> None:
    assert names(text) == expected.split()


def test_a_name_is_taken_apart() -> None:
    (spec,) = expand("4*me@big:2222")
    assert (spec.name, spec.host, spec.user, spec.port, spec.slots) == (
        "me@big:2222", "big", "me", 2222, 4,
    )  # fmt: skip
    (spec,) = expand("[2001:db8::1]:22")
    assert (spec.host, spec.user, spec.port) == ("2001:db8::1", None, 22)


def test_localhost_with_user_or_port_goes_by_ssh() -> None:
    here, other, port = expand("localhost,me@localhost,localhost:2222")
    assert (here.host, here.user, here.port) == (LOCAL, None, None)
    assert (other.host, other.user) == (LOCAL, "me")
    assert (port.host, port.port) == (LOCAL, 2222)


@pytest.mark.parametrize(
    ("text", "slots"),
    [("4*a,b", [4, None]), ("2*n[1-2]", [2, 2]), ("2*n1,3*n1", [3]), ("2*n1,n1", [2]),
     ("n1,2*n1", [2]), ("4*localhost", [4]), ("3*@g", [3, 3])],
)  # fmt: skip
def test_slots(text: str, slots: list[int | None]) -> None:
    groups = Table({"g": ["a", "b"]})
    assert [spec.slots for spec in expand(text, groups=groups)] == slots


GROUPS = {
    "all": ["n[1-4]", "web1", "me@db:22"],
    "fast": ["n[1-3]"],
    "mix": ["@fast!n2", "web1"],
    "down": ["n1"],
    "nobody": [],
    "rack1": ["n1"],
    "rack2": ["n2"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("@fast", "n1 n2 n3"), ("@mix", "n1 n3 web1"), ("@rack[1-2]", "n1 n2"), ("@fast!@down", "n2 n3"),
     ("@fast!down", "n2 n3"), ("@fast!nobody", "n1 n2 n3"), ("n[1-2]&@down", "n1"),
     ("!down", "n2 n3 n4 web1 me@db:22"), (" ! @fast", "n4 web1 me@db:22"),
     ("@*", "n1 n2 n3 n4 web1 me@db:22"), ("@all:n*!n2", "n1 n3 n4"), ("w*,n?!n3", "web1 n1 n2 n4"),
     ("d*", "me@db:22"), ("n[1-2]*", "n1 n2"), ("n1!zz*", "n1")],
)  # fmt: skip
def test_groups(text: str, expected: str) -> None:
    assert names(text, GROUPS) == expected.split()


WRONG = {
    "nothing": ("", 1, "the set is empty"),
    "blanks": ("  ", 1, "the set is empty"),
    "backwards": ("a,n[3-1]", 5, "write 1-3"),
    "an open bracket": ("n[1-", 2, "[ is not closed"),
    "an open brace": ("a,n{1..", 4, "{ is not closed"),
    "a bracket too many": ("n[1]]", 5, "closes nothing"),
    "brackets in brackets": ("n[[1]]", 3, "a second ["),
    "a blank between names": ("n[1-3] gpu[1-2]", 7, "use a comma: n[1-3],gpu[1-2]"),
    "a newline between names": ("n1\nn2", 3, "use a comma"),
    "nothing between": ("a,,b", 3, "a name is missing"),
    "nothing after": ("a,", 3, "a name is missing"),
    "nothing before": (",a", 1, "a name is missing"),
    "nothing in brackets": ("n[1,]", 5, "a number is missing"),
    "mixed widths": ("n[8,01-3]", 5, "write 01-03"),
    "mixed letters": ("n[a-C]", 3, "mixes small and capital"),
    "no step": ("n[1-3/0]", 3, "never arrives"),
    "no range": ("n[1-x]", 3, "is no range"),
    "no range in braces": ("n{1-3}", 2, "is no range"),
    "an empty word": ("n{a,}", 2, "an empty word"),
    "dots without braces": ("n1..3", 3, "write node{1..5}"),
    "an octet too large": ("10.0.0.250..256", 1, "10.0.0.256 is no address"),
    "addresses backwards": ("x,10.0.0.7..5", 3, "runs backwards"),
    "an option": ("n1,-oProxyCommand=x", 4, "does not start with -"),
    "an option as the user": ("-l@n1", 1, "does not start with -"),
    "an option in brackets": ("[-1]", 2, "is no range"),
    "a control character": ("n1,n\x1b[31m", 5, "control character"),
    "a comment": ("#n1", 1, "'#' is in no host's name"),
    "shell syntax": ("n1;id", 3, "';' is in no host's name"),
    "a path": ("n1/x", 3, "'/' is in no host's name"),
    "no user": ("@n1,@", 1, "no group @n1"),
    "no group's name": ("n1,@", 4, "no group's name"),
    "no port": ("n1:", 4, "is no port"),
    "a large port": ("n1:65536", 4, "1 to 65535"),
    "a port with zeros": ("n1:022", 4, "is no port"),
    "bare IPv6": ("2001:db8::1", 5, "in brackets: [2001:db8::1]"),
    "bare IPv6 of this machine": ("a,::1", 3, "in brackets"),
    "bad IPv6": ("x,[1:2]", 4, "no IPv6 address"),
    "shell syntax in a zone": ("[fe80::1%$(id)]", 2, "no IPv6 address"),
    "a blank in a zone": ("a,[fe80::1%e 0]", 4, "no IPv6 address"),
    "an option as a zone": ("[fe80::1%-o]", 2, "no IPv6 address"),
    "no slots": ("a,0*n", 3, "1 to 4096"),
    "many slots": ("99999999999999999999*n", 1, "1 to 4096"),
    "a long name": ("n" * 256, 1, "at most 255"),
    "nobody left": ("a!a", 1, "means no host"),
    "too many": ("a,n[1-100001]", 3, "more than 100000"),
    "far too many": ("n[1-999999999]", 1, "999999999 hosts"),
    "absurdly many": ("n[1-" + "9" * 90 + "]", 1, "million million"),
    "many times many": ("a[1-9999]b[1-9999]c[1-9999]", 1, "more than 100000"),
    "too many together": ("n[1-60000],m[1-60000]", 12, "120000 hosts"),
    "all, but nothing is configured": ("n1,@*", 4, "no hosts are configured"),
    "no group at all": ("n1,@fast", 4, "no groups are configured"),
}


@pytest.mark.parametrize(("text", "column", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_refused_with_its_column(text: str, column: int, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        expand(text)
    assert raised.value.column == column
    assert said in f"{raised.value.message} | {raised.value.hint}"
    assert raised.value.text is not None
    assert "\x1b" not in raised.value.text
    assert len(raised.value.text) == len(text)


def test_a_huge_set_is_refused_before_it_is_made() -> None:
    started = time.process_time()
    with pytest.raises(UsageError):
        expand("n[1-999999999]x{1..999999999}")
    assert time.process_time() - started < 1


def test_the_largest_set_is_taken() -> None:
    assert len(expand(f"n[1-{MOST}]")) == MOST


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [("n1,@fsat", 4, "did you mean @fast?"), ("@rack[1-3]", 1, "no group @rack3"),
     ("zz*", 1, "matches no host of @all"), ("@nobody", 1, "means no host")],
)  # fmt: skip
def test_wrong_groups(text: str, column: int, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        names(text, GROUPS)
    assert (raised.value.column, said in f"{raised.value.message} {raised.value.hint}") == (
        column, True,
    )  # fmt: skip


def test_a_ring_of_groups_is_refused_where_it_closes() -> None:
    with pytest.raises(UsageError) as raised:
        names("@a", {"a": ["n1,@b"], "b": ["@c"], "c": ["n2!@a"]})
    assert raised.value.message == "@a refers to itself: @a -> @b -> @c -> @a"
    assert (raised.value.text, raised.value.column) == ("n2!@a", 4)


def test_groups_that_double_thirty_times_are_looked_up_once_each() -> None:
    groups = {f"g{n}": [f"@g{n - 1},@g{n - 1}"] for n in range(1, 30)} | {"g0": ["n1"]}
    assert names("@g29", groups) == ["n1"]


FOLDED = {
    "a range": ("n1 n2 n3 n7", "n[1-3,7]"),
    "one": ("n1", "n1"),
    "none": ("", ""),
    "over ten": ("n9 n10 n11", "n[9-11]"),
    "padded": ("n08 n09 n10", "n[08-10]"),
    "padded and not": ("n1 n01 n001", "n[1,01,001]"),
    "padded up to the width": ("n098 n099 n100 n1000", "n[098-100,1000]"),
    "a padded width ends": ("n09 n10 n99 n100", "n[09-10,99-100]"),
    "two places": ("r1n1 r1n2 r2n1 r2n2", "r[1-2]n[1-2]"),
    "two places, not all": ("r1n1 r1n2 r2n1", "r1n[1-2],r2n1"),
    "three places": ("a1b1c1 a1b1c2 a2b1c1 a2b1c2", "a[1-2]b1c[1-2]"),
    "users and ports": ("me@n1:22 me@n2:22 n3", "me@n[1-2]:22,n3"),
    "IPv6 stays": ("[::1]:22 [::2]:22 [::1]:23", "[::1]:[22-23],[::2]:22"),
    "addresses": ("10.0.0.1 10.0.0.2", "10.0.0.[1-2]"),
    "only numbers": ("1 2 3", "[1-3]"),
    "families in their order": ("z a2 z1 a1", "z,a[1-2],z1"),
    "a name twice": ("a a", "a"),
}


@pytest.mark.parametrize(("written", "expected"), FOLDED.values(), ids=FOLDED)
def test_fold(written: str, expected: str) -> None:
    assert fold(written.split()) == expected


def test_a_padded_range_ends_where_its_width_does() -> None:
    numbers = [f"n{number:02d}" for number in range(8, 102)]
    assert fold(numbers) == "n[08-99,100-101]"
    assert names(fold(numbers)) == numbers


PIECES = st.lists(
    st.sampled_from(["n", "-", "rack", ".", "0", "1", "9", "09", "10", "007", "é", "_"]),
    min_size=1,
    max_size=6,
).map("".join)
HOSTS = st.one_of(PIECES, st.sampled_from(["[::1]", "[2001:db8::10]", "10.0.0.9", "10.0.0.10"]))
NAMES = st.builds(
    lambda user, host, port: f"{user}{host}{port}",
    st.sampled_from(["", "", "me@", "u1@", "u2@", "u02@"]),
    HOSTS,
    st.sampled_from(["", "", ":22", ":2201", ":2202"]),
)


def is_name(text: str) -> bool:
    try:
        return [spec.name for spec in expand(text)] == [text]
    except UsageError:
        return False


@given(st.sets(NAMES.filter(is_name), min_size=1, max_size=30))
def test_expand_undoes_fold(found: set[str]) -> None:
    assert set(names(fold(sorted(found)))) == found


@given(
    st.sets(
        st.builds("r{}n{:0{}d}".format, st.integers(1, 3), st.integers(0, 12), st.integers(1, 3)),
        min_size=1,
    )
)
def test_expand_undoes_fold_of_dense_names(found: set[str]) -> None:
    assert set(names(fold(sorted(found)))) == found
    assert len(names(fold(sorted(found)))) == len(found)


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30), min_size=1))
def test_operators_are_those_of_sets(left: set[int], right: set[int]) -> None:
    groups = {"l": [fold(f"n{n}" for n in left)], "r": [fold(f"n{n}" for n in right)]}
    expected = {",": left | right, "!": left - right, "&": left & right, "^": left ^ right}
    for sign, numbers in expected.items():
        found = names(f"@l{sign}@r,z", groups)  # z keeps the set from being empty
        assert sorted(found) == sorted(["z", *(f"n{number}" for number in numbers)])


def test_a_name_without_user_and_port_covers_any() -> None:
    cover = Cover(expand("n1,me@n2,n3:22"))
    covered = expand("n1,me@n1:22,me@n2,me@n2:22,n2,you@n2,n3,n3:22,me@n3:22,n3:23")
    assert [spec.name for spec in covered if spec in cover] == [
        "n1", "me@n1:22", "me@n2", "me@n2:22", "n3:22", "me@n3:22",
    ]  # fmt: skip
