"""Equations of a step as operations on rows.

Every value of a step has a leading axis for the batch, and is an array [rows, width] to the native loop. Values that
constants alone decide are computed outside of the loop.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.equations import Atom, Environment, aval, run_equations, variables
from nlstm_jax.unroll.native.values import (
    ARGUMENT,
    LITERAL,
    NUMBER,
    REDUCTIONS,
    RESULT,
    Instruction,
    UnsupportedError,
    Value,
    View,
    Weight,
)

Operand: TypeAlias = View | Array
"""A value of the step, or an array that constants alone decide."""


class Lowering:
    """Turns the equations of a step into a program, one by one."""

    def __init__(self, equations: Sequence[JaxprEqn], returned: Sequence[Atom], rows: int, dtype: np.dtype):
        self.rows = rows
        self.dtype = dtype
        self.uses = Counter(variables(returned))
        for equation in equations:
            self.uses.update(variables(equation.invars))
        self.environment: Environment = {}
        self.arguments: list[Array] = []
        self.literals: list[float] = []
        self.instructions: list[Instruction] = []
        self.weights: list[Weight] = []
        self._weight_arrays: list[tuple[Array, int]] = []
        self._constants: list[tuple[Array, View]] = []
        self._matmuls: dict[int, Instruction] = {}

    # Operands ------------------------------------------------------------------------------------------------------

    def add_argument(self, array: Array) -> int:
        """Return the number of a new argument."""
        self.arguments.append(array)
        return len(self.arguments) - 1

    def read(self, atom: Atom) -> Operand:
        """Return what a variable or literal stands for."""
        if isinstance(atom, Literal):
            return jnp.asarray(atom.val, aval(atom).dtype)
        operand = self.environment[atom]
        if isinstance(operand, View):
            self._emit_matmul(operand.value)
        return operand

    def view(self, atom: Atom, shape: tuple[int, ...]) -> View:
        """Return an operand of an operation on elements of arrays of `shape`, (rows, …)."""
        width = width_of(shape)
        if isinstance(atom, Literal) and np.ndim(atom.val) == 0:
            return self._literal(float(atom.val), width)
        operand = self.read(atom)
        if isinstance(operand, View):
            return operand.spread(width)
        return self._constant(operand, shape)

    def _literal(self, number: float, width: int) -> View:
        self.literals.append(number)
        value = Value(1, LITERAL, len(self.literals) - 1)
        value.per_row = False
        return View(value, 0, width, repeated=True)

    def _constant(self, array: Array, shape: tuple[int, ...]) -> View:
        """Return a view of an array that constants alone decide."""
        for known, view in self._constants:
            if known is array:
                return view
        width = width_of(shape)
        same_for_all_rows = (1, *shape[1:])
        if array.shape not in ((), shape, same_for_all_rows):
            raise UnsupportedError(f"a constant of shape {array.shape} beside {shape}")
        number = self.add_argument(array.astype(self.dtype))
        value = Value(width if array.shape else 1, ARGUMENT, number)
        value.per_row = array.shape == shape
        view = View(value, 0, width, repeated=not array.shape)
        self._constants.append((array, view))
        return view

    # Instructions --------------------------------------------------------------------------------------------------

    def emit(self, name: str, width: int, inputs: Sequence[View | None], columns: int | None = None) -> View:
        """Add an operation, and return its result."""
        result = Value(width if columns is None else columns)
        view = View(result, 0, result.width)
        self.instructions.append(Instruction(name, width, view, tuple(inputs)))
        return view

    def copy(self, source: View, target: View) -> None:
        """Add a copy of some columns to others."""
        self.instructions.append(Instruction("copy", source.width, target, (source,)))

    def _emit_matmul(self, value: Value) -> None:
        """Add a matmul that waited for an addition."""
        if id(value) in self._matmuls:
            self.instructions.append(self._matmuls.pop(id(value)))

    def lower(self, equation: JaxprEqn) -> None:
        """Add an equation.

        Raises:
            UnsupportedError: loop.cc cannot run it.
        """
        if all(isinstance(atom, Literal) or not isinstance(self.environment[atom], View) for atom in equation.invars):
            self._run_constant(equation)
            return
        for result in equation.outvars:
            if aval(result).shape[:1] != (self.rows,):
                raise UnsupportedError(f"{equation.primitive.name} whose result has no axis for the batch")
        results = self._lowered(equation)
        self.environment.update(zip(equation.outvars, results, strict=True))

    def _run_constant(self, equation: JaxprEqn) -> None:
        """Compute what constants alone decide, outside of the loop. A number for all elements stays a number."""
        first = equation.invars[0] if equation.invars else None
        shape = aval(equation.outvars[0]).shape
        is_number = isinstance(first, Literal) and np.ndim(first.val) == 0
        if equation.primitive.name == "broadcast_in_dim" and is_number and shape[:1] == (self.rows,):
            assert isinstance(first, Literal)
            self.environment[equation.outvars[0]] = self._literal(float(first.val), width_of(shape))
        else:
            run_equations([equation], self.environment)

    def _lowered(self, equation: JaxprEqn) -> Sequence[Operand]:
        name = equation.primitive.name
        shape = aval(equation.outvars[0]).shape
        special: Callable[[JaxprEqn], Sequence[Operand]] | None = getattr(self, f"_lower_{name}", None)
        if special is not None:
            return special(equation)
        if name == "optimization_barrier":
            return [self.read(atom) for atom in equation.invars]
        if name in REDUCTIONS:
            return [self._reduction(equation)]
        if name not in NUMBER or name == "matmul":
            raise UnsupportedError(f"the operation {name}")
        if name == "select_n" and len(equation.invars) != 3:
            raise UnsupportedError("select_n of more than two cases")
        inputs = [self.view(atom, shape) for atom in equation.invars]
        return [self.emit(name, width_of(shape), inputs)]

    def _lower_add(self, equation: JaxprEqn) -> Sequence[Operand]:
        """An addition, which becomes a part of a matmul that has no other use."""
        shape = aval(equation.outvars[0]).shape
        for atom, other in itertools.permutations(equation.invars):
            waiting = self._waiting(atom)
            if waiting is None or atom is other:
                continue
            addend = self.view(other, shape)
            if addend.repeated or not addend.value.per_row:
                continue
            del self._matmuls[id(waiting.out.value)]
            self.instructions.append(waiting._replace(inputs=(waiting.inputs[0], addend)))
            return [waiting.out]
        inputs = [self.view(atom, shape) for atom in equation.invars]
        return [self.emit("add", width_of(shape), inputs)]

    _lower_add_any = _lower_add

    def _waiting(self, atom: Atom) -> Instruction | None:
        if isinstance(atom, Literal) or self.uses[atom] != 1:
            return None
        operand = self.environment[atom]
        return self._matmuls.get(id(operand.value)) if isinstance(operand, View) else None

    def _lower_dot_general(self, equation: JaxprEqn) -> Sequence[Operand]:
        (contracted, other_contracted), batch = equation.params["dimension_numbers"]
        left, right = (self.read(atom) for atom in equation.invars)
        if not isinstance(left, View) or isinstance(right, View) or right.ndim != 2 or batch != ((), ()):
            raise UnsupportedError("a matmul of other factors than (rows, n) and a weight (n, m)")
        shape = aval(equation.invars[0]).shape
        is_row = len(contracted) == 1 and contracted[0] > 0 and width_of(shape) == shape[contracted[0]]
        is_widened = jnp.promote_types(right.dtype, self.dtype) == self.dtype
        if not is_row or not is_widened or aval(equation.outvars[0]).dtype != self.dtype:
            raise UnsupportedError("a matmul of other factors than (rows, n) and a weight (n, m)")
        if right.dtype != self.dtype:
            right = right.astype(self.dtype)
        weight = self._weight(right, other_contracted[0])
        inner, columns = self.weights[weight].inner, self.weights[weight].columns
        if left.repeated:
            left = self.emit("copy", inner, [left])
        result = View(Value(columns), 0, columns)
        self._matmuls[id(result.value)] = Instruction("matmul", columns, result, (left, None), weight, inner)
        return [result]

    def _weight(self, array: Array, contracted: int) -> int:
        for number, (known, axis) in enumerate(self._weight_arrays):
            if known is array and axis == contracted:
                return number
        inner, columns = array.shape[contracted], array.shape[1 - contracted]
        strides = (array.shape[1], 1) if contracted == 0 else (1, array.shape[1])
        self.weights.append(Weight(self.add_argument(array), inner, columns, *strides))
        self._weight_arrays.append((array, contracted))
        return len(self.weights) - 1

    def _reduction(self, equation: JaxprEqn) -> View:
        (atom,) = equation.invars
        shape = aval(atom).shape
        reduced = tuple(equation.params["axes"])
        if reduced and 0 not in reduced and all(shape[axis] == 1 for axis in reduced):
            return self.view(atom, shape)
        if reduced != tuple(range(1, len(shape))) or len(shape) == 1:
            raise UnsupportedError(f"{equation.primitive.name} over other axes than the last")
        return self.emit(equation.primitive.name, width_of(shape), [self.view(atom, shape)], columns=1)

    def _lower_reshape(self, equation: JaxprEqn) -> Sequence[Operand]:
        return [self.read(equation.invars[0])]

    _lower_squeeze = _lower_expand_dims = _lower_reshape

    def _lower_transpose(self, equation: JaxprEqn) -> Sequence[Operand]:
        shape = aval(equation.invars[0]).shape
        wide = [axis for axis in equation.params["permutation"] if axis == 0 or shape[axis] != 1]
        if wide != sorted(wide):
            raise UnsupportedError("transpose")
        return [self.read(equation.invars[0])]

    def _lower_broadcast_in_dim(self, equation: JaxprEqn) -> Sequence[Operand]:
        source = aval(equation.invars[0]).shape
        shape = aval(equation.outvars[0]).shape
        operand = self.read(equation.invars[0])
        assert isinstance(operand, View)
        keeps_batch = tuple(equation.params["broadcast_dimensions"])[:1] == (0,)
        if not keeps_batch or (width_of(source) != 1 and width_of(source) != width_of(shape)):
            raise UnsupportedError(f"broadcast_in_dim from {source} to {shape}")
        return [operand.spread(width_of(shape))]

    def _lower_convert_element_type(self, equation: JaxprEqn) -> Sequence[Operand]:
        (atom,) = equation.invars
        source, target = aval(atom).dtype, equation.params["new_dtype"]
        shape = aval(atom).shape
        if target == source or (source == np.bool_ and target == self.dtype):
            return [self.read(atom)]
        if target == np.bool_ and source == self.dtype:
            zero = self._literal(0.0, width_of(shape))
            return [self.emit("ne", width_of(shape), [self.view(atom, shape), zero])]
        raise UnsupportedError(f"convert_element_type from {source} to {target}")

    def _lower_integer_pow(self, equation: JaxprEqn) -> Sequence[Operand]:
        (atom,) = equation.invars
        exponent = equation.params["y"]
        shape = aval(atom).shape
        if not 0 < abs(exponent) <= 8:
            raise UnsupportedError(f"integer_pow with the exponent {exponent}")
        factor = self.view(atom, shape)
        power = factor
        for _ in range(abs(exponent) - 1):
            power = self.emit("mul", width_of(shape), [power, factor])
        if exponent < 0:
            power = self.emit("div", width_of(shape), [self._literal(1.0, width_of(shape)), power])
        return [power]

    def _lower_split(self, equation: JaxprEqn) -> Sequence[Operand]:
        _require_last_axis(equation, equation.params["axis"])
        operand = self.read(equation.invars[0])
        assert isinstance(operand, View)
        parts = []
        offset = 0
        for size in equation.params["sizes"]:
            parts.append(operand.columns(offset, int(size)))
            offset += int(size)
        return parts

    def _lower_slice(self, equation: JaxprEqn) -> Sequence[Operand]:
        starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
        strides = equation.params["strides"]
        two_axes = len(starts) == 2 and starts[0] == 0 and limits[0] == self.rows
        if not two_axes or (strides is not None and set(strides) != {1}):
            raise UnsupportedError("slice of other axes than the last")
        operand = self.read(equation.invars[0])
        assert isinstance(operand, View)
        return [operand.columns(starts[1], limits[1] - starts[1])]

    def _lower_concatenate(self, equation: JaxprEqn) -> Sequence[Operand]:
        _require_last_axis(equation, equation.params["dimension"])
        parts = [self.view(atom, aval(atom).shape) for atom in equation.invars]
        return [self._joined(parts)]

    def _lower_pad(self, equation: JaxprEqn) -> Sequence[Operand]:
        operand, padding = equation.invars
        rows, columns = equation.params["padding_config"][0], equation.params["padding_config"][-1]
        two_axes = len(equation.params["padding_config"]) == 2 and tuple(rows) == (0, 0, 0)
        low, high, interior = map(int, columns)
        if not two_axes or interior or low < 0 or high < 0 or not isinstance(padding, Literal):
            raise UnsupportedError("pad of other axes than the last")
        filled = [self._literal(float(padding.val), width) for width in (low, high)]
        parts = [filled[0], self.view(operand, aval(operand).shape), filled[1]]
        return [self._joined([part for part in parts if part.width])]

    def _joined(self, parts: Sequence[View]) -> View:
        """Return parts side by side. A result of an operation is written there at once."""
        joined = Value(sum(part.width for part in parts))
        offset = 0
        for part in parts:
            place = View(joined, offset, part.width)
            if self._is_free(part):
                part.value.parent = place
            else:
                self.copy(part, place)
            offset += part.width
        return View(joined, 0, joined.width)

    def _is_free(self, part: View) -> bool:
        """Return True if a view is a whole value that may live anywhere."""
        value = part.value
        is_whole = not part.repeated and part.offset == 0 and part.width == value.width
        return is_whole and value.space is None and value.parent is None

    def returned(self, operand: Operand, shape: tuple[int, ...]) -> View:
        """Return a value that the step returns."""
        if isinstance(operand, View):
            self._emit_matmul(operand.value)
            return operand.spread(width_of(shape))
        return self._constant(operand, shape)

    def result(self, view: View, index: int) -> None:
        """Write a value of every step to a result."""
        if self._is_free(view):
            view.value.space, view.value.index, view.value.over_time = RESULT, index, True
            return
        self.copy(view, View(Value(view.width, RESULT, index, over_time=True), 0, view.width))

    def owned(self, view: View) -> View:
        """Return a copy of a value that lives in an argument or in the carry."""
        space = view.value.root.space
        if space in (None, RESULT) and not view.repeated:
            return view
        return self.emit("copy", view.width, [view])


def width_of(shape: tuple[int, ...]) -> int:
    """Return the number of columns of an array of this shape: the product of all axes but the first."""
    return int(np.prod(shape[1:], dtype=np.int64))


def _require_last_axis(equation: JaxprEqn, axis: int) -> None:
    if len(aval(equation.outvars[0]).shape) != 2 or axis != 1:
        raise UnsupportedError(f"{equation.primitive.name} along another axis than the last of two")
