"""Which combinations are wanted? ``T*L < 100``: an expression over the parameters, never run as code.

It is read with `ast` and turned into functions, node by node; what is not listed here is refused.
Values that read as numbers are numbers, computed in decimals (so ``x == 0.3`` holds for a range's
0.3); all others are texts.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from decimal import Decimal, DecimalException, localcontext
from typing import TYPE_CHECKING

from corral.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.work.sweep import Row

    Value = Decimal | str | bool
    Term = Callable[[Row], Value]

LONGEST = 10_000  # characters of an expression, and of a text that one makes
DEEPEST = 100  # operations inside one another
DIGITS = 40  # of the arithmetic
_SHOWN = "T*L < 100, name in ('a', 'b'), not (x == 1 or y >= 2)"
_FUNCTIONS = ("abs", "int", "len", "max", "min", "round")


class Where:
    """An expression made ready to be asked of many rows."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        """Read an expression over the axes ``names`` and ``rep``.

        Raises:
            UsageError: It is none, or names what is not there; with the column.
        """
        self.text = text
        self._names = {name: index for index, name in enumerate(names)}
        self._term = self._read()

    def __call__(self, row: Row) -> bool:
        """Say whether a row is wanted.

        Raises:
            UsageError: Its values cannot be computed with or compared like this.
        """
        try:
            with localcontext() as context:
                context.prec = DIGITS
                return bool(self._term(row))
        except (TypeError, ValueError, DecimalException) as error:
            raise UsageError(
                f"--where {self.text}: cannot be told for {self._shown(row)}: {_why(error)}",
                hint="compare numbers with numbers, texts with texts: x == 'a' or n < 10",
            ) from error

    def _shown(self, row: Row) -> str:
        return " ".join(f"{name}={row.values[at]!r}" for name, at in self._names.items())

    # ---------------------------------------------------------------- reading

    def _read(self) -> Term:
        if len(self.text) > LONGEST:
            raise UsageError(f"--where: longer than {LONGEST} characters", hint="name the values")
        try:
            with warnings.catch_warnings(action="ignore"):  # of a backslash in a text
                tree = ast.parse(self.text.strip(), mode="eval")
        except SyntaxError as error:
            column = max(1, error.offset or 1)  # 0 at the end of what is cut short
            raise UsageError(
                f"--where: {error.msg}", hint=f"like {_SHOWN}", text=self.text, column=column
            ) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise UsageError(f"--where: cannot be read: {error}", hint=f"like {_SHOWN}") from error
        if _depth(tree) > DEEPEST:
            raise UsageError("--where: too deep to be read", hint="make it shorter")
        return self._term_of(tree.body)

    def _term_of(self, node: ast.expr) -> Term:
        match node:
            case ast.BoolOp(op=op, values=values):
                return _joined(
                    [self._term_of(value) for value in values], every=isinstance(op, ast.And)
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                term = self._term_of(operand)
                return lambda row: not term(row)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                term = self._term_of(operand)
                return lambda row: -_number(term(row))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _computed(_ARITHMETIC[type(op)], self._term_of(left), self._term_of(right))
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return self._call(node, name, [self._term_of(arg) for arg in args])
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return self._name(node)
            case _:
                raise self._error(node, "this cannot stand in --where", f"like {_SHOWN}")

    def _comparison(self, node: ast.Compare) -> Term:
        """Read a chain: ``1 < x <= 3``, ``x in (1, 2)``."""
        links: list[Term] = []
        left = self._term_of(node.left)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                links.append(self._membership(left, right, wanted=isinstance(op, ast.In)))
                continue
            if type(op) not in _COMPARISONS:
                raise self._error(node, "this cannot stand in --where", f"like {_SHOWN}")
            term = self._term_of(right)
            links.append(_compared(_COMPARISONS[type(op)], left, term))
            left = term
        return links[0] if len(links) == 1 else _joined(links, every=True)

    def _membership(self, left: Term, node: ast.expr, *, wanted: bool) -> Term:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = [self._term_of(item) for item in node.elts]
            return lambda row: any(_equal(left(row), item(row)) for item in items) is wanted
        text = self._term_of(node)
        return lambda row: (_text(left(row)) in _text(text(row))) is wanted

    def _call(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if (len(terms) < 2) if name in ("max", "min") else (len(terms) != 1):
            raise self._error(node, f"{name}(…) has {len(terms)} values", "abs(x), max(x, y)")
        if name == "len":
            return lambda row: Decimal(len(_text(terms[0](row))))
        if name in ("max", "min"):
            choose = max if name == "max" else min
            return lambda row: choose(_number(term(row)) for term in terms)
        function = _WITH_ONE[name]
        return lambda row: function(_number(terms[0](row)))

    def _constant(self, node: ast.Constant) -> Term:
        match node.value:
            case bool() as value:
                return lambda _: value
            case int() | float():
                # as it was typed: 0.1 is a tenth
                typed = ast.get_source_segment(self.text.strip(), node) or ""
                number = Decimal(typed) if _is_decimal(typed) else Decimal(node.value)
                return lambda _: number
            case str() as text:
                return lambda _: text
            case _:
                raise self._error(node, "this cannot stand in --where", f"like {_SHOWN}")

    def _name(self, node: ast.Name) -> Term:
        index = self._names.get(node.id)
        if index is not None:
            known: dict[str, Value] = {}

            def look_up(row: Row) -> Value:
                text = row.values[index]
                if text not in known:
                    if len(known) >= LONGEST:
                        known.clear()
                    known[text] = _value(text)
                return known[text]

            return look_up
        if node.id == "rep":
            return lambda row: Decimal(row.rep)
        known_names = [*self._names, "rep"]
        near = difflib.get_close_matches(node.id, known_names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {' '.join(known_names)}"
        raise self._error(node, f"{node.id} is not known", f"{hint}; a text stands in quotes")

    def _error(self, node: ast.expr, message: str, hint: str) -> UsageError:
        indent = len(self.text) - len(self.text.lstrip())
        column = node.col_offset + indent + 1
        return UsageError(f"--where: {message}", hint=hint, text=self.text, column=column)


def _depth(tree: ast.AST) -> int:
    """Say how many nodes stand inside one another."""
    level, depth = [tree], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


# -------------------------------------------------------------------- values


def _value(text: str) -> Value:
    """Read a parameter's text: a number where it is one."""
    return Decimal(text) if _is_decimal(text) else text


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite() and "_" not in text and text == text.strip()
    except DecimalException:
        return False


def _number(value: Value) -> Decimal:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is no number")
    return Decimal(value)


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value} is no text")
    return value


def _equal(left: Value, right: Value) -> bool:
    """Compare; a number and a text are never the same."""
    return isinstance(left, str) == isinstance(right, str) and left == right


def _why(error: Exception) -> str:
    if isinstance(error, DecimalException):
        return "a division by zero, or a number out of bounds"
    return str(error)


def _joined(terms: Sequence[Term], *, every: bool) -> Term:
    if every:
        return lambda row: all(term(row) for term in terms)
    return lambda row: any(term(row) for term in terms)


def _computed(function: Callable[[Decimal, Decimal], Decimal], left: Term, right: Term) -> Term:
    return lambda row: function(_number(left(row)), _number(right(row)))


def _compared(function: Callable[[Value, Value], bool], left: Term, right: Term) -> Term:
    return lambda row: function(left(row), right(row))


def _order(left: Value, right: Value) -> int:
    """Say which comes first: below 0 = ``left``."""
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError(f"{left} and {right} are a number and a text")
    return (left > right) - (left < right)


def _whole_part(left: Decimal, right: Decimal) -> Decimal:
    """Divide and round down, as Python does with whole numbers."""
    return (left / right).to_integral_value(rounding="ROUND_FLOOR")


_ARITHMETIC: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: _whole_part,
    ast.Mod: lambda left, right: left - right * _whole_part(left, right),
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda left, right: not _equal(left, right),
    ast.Lt: lambda left, right: _order(left, right) < 0,
    ast.LtE: lambda left, right: _order(left, right) <= 0,
    ast.Gt: lambda left, right: _order(left, right) > 0,
    ast.GtE: lambda left, right: _order(left, right) >= 0,
}
_WITH_ONE: dict[str, Callable[[Decimal], Decimal]] = {
    "abs": abs,
    "int": lambda number: number.to_integral_value(rounding="ROUND_DOWN"),
    "round": lambda number: number.to_integral_value(rounding="ROUND_HALF_EVEN"),
}
