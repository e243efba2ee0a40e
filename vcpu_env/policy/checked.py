"""What the operators and conversions of a user's rule mean: whole numbers of 64 bits, and no answer that is not one.

`policy.sealed` puts these functions in place of the operators of a rule's source. Each is a Python function, and
compiled the same: what does not fit 64 bits is an OverflowError, a division by zero a ZeroDivisionError, a step beyond
`MAX_STEPS` a RuntimeError. What is no scalar (lists, arrays) is left to Python and NumPy.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from vcpu_env.policy.decision import count_step

MAX_STEPS = 1_000_000
"""Rounds of loops and calls of functions that a rule may take for one answer."""

LEAST, MOST = -(1 << 63), (1 << 63) - 1

TOO_LARGE = "integer outside 64 bits"
ENDLESS = f"endless? more than {MAX_STEPS} rounds of loops for one answer"
NOT_WHOLE = "the value is no integer"
NO_NUMBER = "the value has no integer part"
NEGATIVE_SHIFT = "negative shift count"


def step(view):
    """Count one round of a loop, or one call."""
    if count_step(view) > MAX_STEPS:
        raise RuntimeError(ENDLESS)


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's, whose arithmetic raises where NumPy's warns."""
    return value.item() if isinstance(value, np.generic) else value


def fits(value: Any) -> Any:
    """The value, if a whole number of 64 bits or no whole number."""
    if isinstance(value, int) and not LEAST <= value <= MOST:
        raise OverflowError(TOO_LARGE)
    return value


def binary(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A Python operator whose result has to fit."""

    def checked(a, b):
        return fits(operation(plain(a), plain(b)))

    return checked


add, subtract, multiply = binary(operator.add), binary(operator.sub), binary(operator.mul)
floor_divide, modulo, divide = binary(operator.floordiv), binary(operator.mod), binary(operator.truediv)


def power(a, b):
    """``a ** b``; of whole numbers a whole number."""
    a, b = plain(a), plain(b)
    if isinstance(a, int) and isinstance(b, int):
        if b < 0 or (b > 64 and abs(a) > 1):
            raise OverflowError(TOO_LARGE)
    return fits(a**b)


def left_shift(a, b):
    """``a << b``."""
    a, b = plain(a), plain(b)
    if b > 64 and a != 0:
        raise OverflowError(TOO_LARGE)
    return fits(a << min(b, 64))


def right_shift(a, b):
    """``a >> b``."""
    return plain(a) >> plain(b)


def negate(a):
    """``-a``."""
    return fits(-plain(a))


def magnitude(a):
    """abs()."""
    return fits(abs(plain(a)))


def integer(a):
    """int()."""
    a = plain(a)
    if isinstance(a, float) and not float(LEAST) <= a < -float(LEAST):
        raise ValueError(NO_NUMBER)
    return int(a)


def nearest(a):
    """round(), halves to the even one."""
    a = plain(a)
    return integer(float(np.rint(a))) if isinstance(a, float) else integer(a)


def whole(a):
    """The value itself, if it is a whole number: what a rule answers and sets is one."""
    a = plain(a)
    if not isinstance(a, int):
        raise TypeError(f"{NOT_WHOLE}: {a}")
    return fits(int(a))


def is_whole(*kinds: types.Type) -> bool:
    """Whether all are types of whole numbers."""
    return all(isinstance(kind, types.Integer | types.Boolean) for kind in kinds)


def overflowing(builder_method: str) -> Callable[..., Any]:
    """The compiled operation on two int64: its result, and whether that is not the true one."""

    @intrinsic
    def operation(typingctx, a, b):
        signature = types.UniTuple(types.int64, 2)(types.int64, types.int64)

        def codegen(context, builder, signature, args):
            pair = getattr(builder, builder_method)(*args)
            flag = builder.zext(builder.extract_value(pair, 1), context.get_value_type(types.int64))
            return context.make_tuple(builder, signature.return_type, (builder.extract_value(pair, 0), flag))

        return signature, codegen

    return operation


sadd, ssub, smul = map(overflowing, ("sadd_with_overflow", "ssub_with_overflow", "smul_with_overflow"))


def compile_overflowing(function: Callable[..., Any], operation: Any, otherwise: Callable[..., Any]) -> None:
    """Compiled, a function of two values is an operation that tells an overflow; of others the Python operator."""

    @overload(function)
    def compiled(a, b):
        if not is_whole(a, b):
            return otherwise

        def checked(a, b):
            value, wrong = operation(np.int64(a), np.int64(b))
            if wrong:
                raise OverflowError(TOO_LARGE)
            return value

        return checked


compile_overflowing(add, sadd, lambda a, b: a + b)
compile_overflowing(subtract, ssub, lambda a, b: a - b)
compile_overflowing(multiply, smul, lambda a, b: a * b)


@overload(divide)
def compiled_divide(a, b):
    """`divide`, compiled."""
    return lambda a, b: a / b


@overload(floor_divide)
def compiled_floor_divide(a, b):
    """`floor_divide`, compiled."""
    if not is_whole(a, b):
        return lambda a, b: a // b
    return lambda a, b: subtract(0, a) if b == -1 else np.int64(a) // np.int64(b)  # the processor traps at -2^63 / -1


@overload(modulo)
def compiled_modulo(a, b):
    """`modulo`, compiled."""
    if not is_whole(a, b):
        return lambda a, b: a % b
    return lambda a, b: np.int64(0) if b == -1 else np.int64(a) % np.int64(b)


@overload(power)
def compiled_power(a, b):
    """`power`, compiled."""
    if not is_whole(a, b):
        return lambda a, b: a**b

    def checked(a, b):
        if b < 0 or (b > 64 and (a > 1 or a < -1)):
            raise OverflowError(TOO_LARGE)
        value = np.int64(1)
        for _ in range(b if b <= 64 else 64 + b % 2):  # of 0, 1 and -1
            value = multiply(value, a)
        return value

    return checked


@overload(left_shift)
def compiled_left_shift(a, b):
    """`left_shift`, compiled."""

    def checked(a, b):
        if b < 0:
            raise ValueError(NEGATIVE_SHIFT)
        if a == 0:
            return np.int64(0)
        if b > 63:
            raise OverflowError(TOO_LARGE)
        value = np.int64(a) << np.int64(b)
        if value >> np.int64(b) != a:
            raise OverflowError(TOO_LARGE)
        return value

    return checked if is_whole(a, b) else None


@overload(right_shift)
def compiled_right_shift(a, b):
    """`right_shift`, compiled."""

    def checked(a, b):
        if b < 0:
            raise ValueError(NEGATIVE_SHIFT)
        return np.int64(a) >> np.int64(min(b, 63))

    return checked if is_whole(a, b) else None


@overload(negate)
def compiled_negate(a):
    """`negate`, compiled."""
    return (lambda a: subtract(0, a)) if is_whole(a) else (lambda a: -a)


@overload(magnitude)
def compiled_magnitude(a):
    """`magnitude`, compiled."""
    return (lambda a: negate(a) if a < 0 else np.int64(a)) if is_whole(a) else (lambda a: abs(a))


@overload(integer)
def compiled_integer(a):
    """`integer`, compiled."""
    if is_whole(a):
        return lambda a: np.int64(a)

    def checked(a):
        if not LEAST <= a < MOST:
            raise ValueError(NO_NUMBER)
        return np.int64(a)

    return checked if isinstance(a, types.Float) else None


@overload(nearest)
def compiled_nearest(a):
    """`nearest`, compiled."""
    return (lambda a: np.int64(a)) if is_whole(a) else (lambda a: integer(np.rint(a)))


@overload(whole)
def compiled_whole(a):
    """`whole`, compiled."""
    if not is_whole(a):
        raise TypingError(NOT_WHOLE + (": None" if isinstance(a, types.NoneType) else f": {a}"))
    return lambda a: np.int64(a)


@overload(step)
def compiled_step(view):
    """`step`, compiled."""

    def checked(view):
        if count_step(view) > MAX_STEPS:
            raise RuntimeError(ENDLESS)

    return checked
