"""Host sets against ClusterShell, which knows the syntax best, where both mean the same."""

from __future__ import annotations

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from hypothesis import example, given
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.hosts.hostset import expand, fold

PREFIXES = st.sampled_from(["n", "node", "rack-", "a.b", "x5-"])
SUFFIXES = st.sampled_from(["", "-ib", ".lan", "b2"])


def theirs(text: str) -> set[str]:
    return set(NodeSet(text, resolver=RESOLVER_NOGROUP))


def ours(text: str) -> set[str]:
    """Expand as ClusterShell does, to which a set without hosts is no error."""
    try:
        return {spec.name for spec in expand(text)}
    except UsageError as error:
        if error.message == "this set means no host":
            return set()
        raise


@st.composite
def ranges(draw: st.DrawFn) -> str:
    """Write the inside of brackets: numbers, ranges, steps, padded or not."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, 120))
        last = first + draw(st.integers(0, 30))
        width = len(str(last)) + draw(st.integers(0, 1)) if draw(st.booleans()) else 0
        low, high = str(first).zfill(width), str(last).zfill(width)
        step = draw(st.integers(1, 4))
        parts.append(low if first == last else f"{low}-{high}" + (f"/{step}" if step > 1 else ""))
    return ",".join(parts)


@st.composite
def items(draw: st.DrawFn) -> str:
    first = f"{draw(PREFIXES)}[{draw(ranges())}]"
    second = f"-c[{draw(ranges())}]" if draw(st.integers(0, 3)) == 0 else ""
    plain = f"{draw(PREFIXES)}{draw(st.integers(0, 20))}"
    return draw(st.sampled_from([first + second + draw(SUFFIXES), plain]))


@st.composite
def sets(draw: st.DrawFn) -> str:
    text: str = draw(items())
    for _ in range(draw(st.integers(0, 4))):
        text += draw(st.sampled_from([",", "!", "&", "^"])) + draw(items())
    return text


@given(sets())
@example("n[1-10/3]")
@example("n[01-03,7]")
@example("rack[1-2]n[1-4]")
@example("n[9-11]^n[09-11]")
@example("n[1-5]!n3&n[1-4],n9")
@example("n5[01-03]")
@example("n[9-11]5")
def test_a_set_means_what_it_means_to_clustershell(text: str) -> None:
    assert ours(text) == theirs(text)


@given(st.sets(st.tuples(PREFIXES, st.integers(0, 200), SUFFIXES), min_size=1, max_size=40))
def test_clustershell_reads_what_is_folded_and_the_reverse(
    found: set[tuple[str, int, str]],
) -> None:
    names = {f"{prefix}{number}{suffix}" for prefix, number, suffix in found}
    assert theirs(fold(sorted(names))) == names
    assert ours(str(NodeSet.fromlist(sorted(names), resolver=RESOLVER_NOGROUP))) == names


@given(st.sets(st.integers(0, 60), min_size=1))
def test_one_range_is_folded_as_clustershell_does(numbers: set[int]) -> None:
    names = [f"node{number}" for number in numbers]
    assert fold(names) == str(NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP))


@given(st.sets(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1))
def test_two_places_are_folded_no_worse_than_by_clustershell(found: set[tuple[int, int]]) -> None:
    names = [f"rack{rack}n{node}" for rack, node in found]
    reference = NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP)
    assert fold(names).count("rack") <= str(reference).count("rack")


@pytest.mark.parametrize(
    "text",
    ["n[3-1]", "n[1-", "n]1", "n[]", "n[1-3],", "n[01-3]", "n[1-03]", "n[1-3/0]", "n[1/3]",
     "a,,b", "n[1]]", "n[[1]]", "a!"],
)  # fmt: skip
def test_both_refuse(text: str) -> None:
    with pytest.raises(NodeSetException):
        theirs(text)
    with pytest.raises(UsageError):
        expand(text)
