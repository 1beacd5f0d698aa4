"""Evaluates the arithmetic of Timeloop v4 files, in numbers and names alone; nothing of a file is ever run.

Names and meaning of functions are Accelergy's (``accelergy/parsing_utils.py``, MATH_FUNCS), of which those stand here
that take and give single numbers; an attribute goes before a function or constant of its name, as there.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST_CHARACTERS = 500
"""Of an expression; longer ones are not read."""

MOST = 2.0**256
"""Numbers beyond it are refused, so that no power takes long."""


class NotEvaluatedError(Exception):
    """An expression has no value here; the text says why."""


def _power(base: int | float, exponent: int | float) -> Any:
    if abs(base) > 1 and exponent * math.log2(abs(base)) > math.log2(MOST):
        raise NotEvaluatedError("the result is no number of a sensible size")
    return base**exponent


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "float": float,
    "floor": math.floor,
    "gcd": math.gcd,
    "int": int,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "pow": _power,
    "round": round,
    "sqrt": math.sqrt,
    "trunc": math.trunc,
}
_CONSTANTS: Mapping[str, float] = {"e": math.e, "pi": math.pi, "tau": math.tau}


class Plain(str):
    """Text that stands in a file without quotes, hence may be an expression.

    Attributes:
        place: File and line.
        why: Why it has no value, once that was tried; empty before.
    """

    place: str
    why: str

    def __new__(cls, text: str, place: str, why: str = "") -> Plain:
        """Returns the text with its place."""
        made = super().__new__(cls, text)
        made.place, made.why = place, why
        return made


def value_of(value: Any, names: Mapping[str, Any]) -> Any:
    """Returns what a value of a file stands for.

    Args:
        value: Of the file; what is no `Plain` stands for itself.
        names: Values by name; a table stands for its attributes.

    Returns:
        A number, or text that a name stands for; a `Plain` that says why if there is neither.
    """
    if not isinstance(value, Plain):
        return value
    try:
        return evaluate(value, names)
    except NotEvaluatedError as error:
        return Plain(value, value.place, str(error))


def evaluate(text: str, names: Mapping[str, Any]) -> int | float | str:
    """Returns the value of an expression.

    Raises:
        NotEvaluatedError: It is none, or uses what is not known or not allowed.
    """
    if len(text) > MOST_CHARACTERS:
        raise NotEvaluatedError(f"longer than {MOST_CHARACTERS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        found = _value(tree.body, names)
    except (SyntaxError, MemoryError, RecursionError):
        raise NotEvaluatedError("no arithmetic expression") from None
    except (ArithmeticError, TypeError, ValueError) as error:
        raise NotEvaluatedError(str(error)) from None
    if isinstance(found, Plain) or not isinstance(found, int | float | str):
        why = found.why or "not evaluated yet" if isinstance(found, Plain) else f"a {type(found).__name__}"
        raise NotEvaluatedError(f"it stands for no number ({why})")
    return found


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of a part of an expression: of each kind that is allowed, and no other."""
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name(id=name):
            return _named(name, names)
        case ast.Attribute(value=owner, attr=key) | ast.Subscript(value=owner, slice=ast.Constant(value=key)):
            return _part(_value(owner, names), key, ast.unparse(node))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
    operation, operands = _operated(node, names)
    return _checked(operation, *(_number(_value(operand, names)) for operand in operands))


def _operated(node: ast.expr, names: Mapping[str, Any]) -> tuple[Callable[..., Any] | None, Sequence[ast.expr]]:
    """What an expression does with numbers, and what stands for those."""
    match node:
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY.get(type(sign)), [operand]
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY.get(type(sign)), [left, right]
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return _COMPARED.get(type(sign)), [left, right]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS and name not in names:
            return FUNCTIONS[name], arguments
    known = f"numbers, names, + - * / // % ** and {', '.join(FUNCTIONS)}"
    raise NotEvaluatedError(f"{ast.unparse(node)!r} is more than {known}")


def _named(name: str, names: Mapping[str, Any]) -> Any:
    if name in names:
        return names[name]
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    raise NotEvaluatedError(f"nothing above it is named {name!r}")


def _part(owner: Any, key: Any, shown: str) -> Any:
    """An item of a table or list."""
    known = key in owner if isinstance(owner, dict) else isinstance(owner, list) and key in range(len(owner))
    if not known:
        raise NotEvaluatedError(f"there is no {shown}")
    return owner[key]


def _number(value: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    if isinstance(value, Plain) and value.why:
        raise NotEvaluatedError(f"{value!r} ({value.place}) is not evaluated: {value.why}")
    raise NotEvaluatedError(f"{value!r} is no number")


def _checked(operation: Callable[..., Any] | None, *arguments: int | float) -> Any:
    """Applies an operation; none, or a result that is no number within `MOST`, is refused."""
    if operation is None:
        raise NotEvaluatedError("an operator that is none of + - * / // % **")
    found = operation(*arguments)
    if not isinstance(found, int | float) or not abs(found) <= MOST:
        raise NotEvaluatedError("the result is no number of a sensible size")
    return found
