"""The program of one step: equations in the form that loop.cc runs.

Every value of a step has a leading axis for the batch, and is an array [rows, width] to the program. Values that
constants alone decide are computed outside of the loop.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.equations import Values, aval, run_equations, variables

UNARY = "copy neg abs sign exp expm1 log log1p tanh logistic sqrt rsqrt sin cos erf not square floor ceil".split()
BINARY = "add sub mul div max min pow eq ne lt le gt ge and or".split()
TERNARY = ["select_n", "clamp"]
REDUCTIONS = ["reduce_sum", "reduce_max", "reduce_min"]
OPERATIONS = [*UNARY, *BINARY, *TERNARY, *REDUCTIONS, "matmul"]
"""The operations in the order of loop.cc."""
NUMBER = {name: number for number, name in enumerate(OPERATIONS)} | {"add_any": OPERATIONS.index("add")}

ARGUMENT, RESULT, THREAD, CHUNK, LITERAL = range(5)
"""Where a value lives, in the order of loop.cc."""
NONE = (-1, 0, 0)
"""No operand."""


class UnsupportedError(Exception):
    """An equation that the native loop cannot run. Its message names the operation."""


class Value:
    """A value [rows, width] of a step.

    Attributes:
        width: Its number of columns.
        space: `ARGUMENT`, `RESULT`, `THREAD`, `CHUNK` or `LITERAL`; None: not decided.
        index: The number of its argument, result or literal.
        over_time: True if the argument or result has a leading axis for time.
        per_row: False if all rows are the same.
        parent: The view that holds it, if it is a part of a wider value.
        segments: The segments that write or read it.
    """

    def __init__(self, width: int, space: int | None = None, index: int = 0, *, over_time: bool = False):
        self.width = width
        self.space = space
        self.index = index
        self.over_time = over_time
        self.per_row = True
        self.parent: View | None = None
        self.segments: set[int] = set()

    @property
    def root(self) -> "Value":
        """The value whose memory holds this one."""
        return self if self.parent is None else self.parent.value.root


class View(NamedTuple):
    """Columns of a value.

    Attributes:
        value: The value.
        offset: Its first column.
        width: The number of columns.
        repeated: True if the value has one column, which stands for all of them.
    """

    value: Value
    offset: int
    width: int
    repeated: bool = False

    def columns(self, offset: int, width: int) -> "View":
        """Return some of the columns."""
        if self.repeated:
            return self._replace(width=width)
        return View(self.value, self.offset + offset, width)

    def spread(self, width: int) -> "View":
        """Return one column as `width` equal ones."""
        if self.width == width:
            return self
        return View(self.value, self.offset, width, repeated=True)


class Instruction(NamedTuple):
    """One operation on rows.

    Attributes:
        name: One of `OPERATIONS`.
        width: The number of columns of its result, or of the operand of a reduction.
        out: The result.
        inputs: The operands; of a matmul: the factor, and what is added to the product or None.
        weight: The number of the weight of a matmul.
        inner: The length of the axis that a matmul sums over.
    """

    name: str
    width: int
    out: View
    inputs: tuple[View | None, ...]
    weight: int = 0
    inner: int = 0


class Weight(NamedTuple):
    """A weight [inner, columns] of matmuls, in an argument: the fields of loop.cc."""

    argument: int
    inner: int
    columns: int
    inner_stride: int
    column_stride: int


class Program(NamedTuple):
    """What loop.cc runs, and its arrays.

    Attributes:
        words: The program as numbers.
        literals: The numbers that stand in equations.
        arguments: The arrays that it reads: the carry, the inputs of all steps, and constants.
        dtype: Its dtype.
        results: The shapes and dtypes of its results: the last carry, and the outputs of all steps.
        outputs: For each output of the step, the number of its result.
    """

    words: np.ndarray
    literals: np.ndarray
    arguments: list[Array]
    dtype: np.dtype
    results: list[jax.ShapeDtypeStruct]
    outputs: list[int]


Operand: TypeAlias = View | Array
"""A value of the step, or an array that constants alone decide."""


class Lowering:
    """Turns the equations of a step into a program, one by one."""

    def __init__(self, equations: Sequence[JaxprEqn], returned: Sequence[Any], rows: int, dtype: np.dtype):
        self.rows = rows
        self.dtype = dtype
        self.uses = Counter(variables(returned))
        for equation in equations:
            self.uses.update(variables(equation.invars))
        self.environment: dict[Any, Operand] = {}
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

    def read(self, atom: Any) -> Operand:
        """Return what a variable or literal stands for."""
        if isinstance(atom, Literal):
            return jnp.asarray(atom.val, aval(atom).dtype)
        operand = self.environment[atom]
        if isinstance(operand, View):
            self._emit_matmul(operand.value)
        return operand

    def view(self, atom: Any, shape: tuple[int, ...]) -> View:
        """Return an operand of an operation on elements of arrays of `shape`, (rows, …)."""
        width = _width(shape)
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
        width = _width(shape)
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
            self.environment[equation.outvars[0]] = self._literal(float(first.val), _width(shape))
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
        return [self.emit("add" if name == "add_any" else name, _width(shape), inputs)]

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
        return [self.emit("add", _width(shape), inputs)]

    _lower_add_any = _lower_add

    def _waiting(self, atom: Any) -> Instruction | None:
        if isinstance(atom, Literal) or self.uses[atom] != 1:
            return None
        operand = self.environment[atom]
        return self._matmuls.get(id(operand.value)) if isinstance(operand, View) else None

    def _lower_dot_general(self, equation: JaxprEqn) -> Sequence[Operand]:
        (contracted, other_contracted), batch = equation.params["dimension_numbers"]
        left, right = (self.read(atom) for atom in equation.invars)
        if not isinstance(left, View) or isinstance(right, View) or right.ndim != 2 or batch != ((), ()):
            raise UnsupportedError("a matmul of other factors than (rows, n) and a weight (n, m)")
        if tuple(contracted) != (1,) or len(aval(equation.invars[0]).shape) != 2 or right.dtype != self.dtype:
            raise UnsupportedError("a matmul of other factors than (rows, n) and a weight (n, m)")
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
        if tuple(equation.params["axes"]) != tuple(range(1, len(shape))) or len(shape) == 1:
            raise UnsupportedError(f"{equation.primitive.name} over other axes than the last")
        return self.emit(equation.primitive.name, _width(shape), [self.view(atom, shape)], columns=1)

    def _lower_reshape(self, equation: JaxprEqn) -> Sequence[Operand]:
        return [self.read(equation.invars[0])]

    _lower_squeeze = _lower_expand_dims = _lower_reshape

    def _lower_transpose(self, equation: JaxprEqn) -> Sequence[Operand]:
        permutation = tuple(equation.params["permutation"])
        if permutation != tuple(range(len(permutation))):
            raise UnsupportedError("transpose")
        return [self.read(equation.invars[0])]

    def _lower_broadcast_in_dim(self, equation: JaxprEqn) -> Sequence[Operand]:
        source = aval(equation.invars[0]).shape
        shape = aval(equation.outvars[0]).shape
        operand = self.read(equation.invars[0])
        assert isinstance(operand, View)
        keeps_batch = tuple(equation.params["broadcast_dimensions"])[:1] == (0,)
        if not keeps_batch or (_width(source) != 1 and _width(source) != _width(shape)):
            raise UnsupportedError(f"broadcast_in_dim from {source} to {shape}")
        return [operand.spread(_width(shape))]

    def _lower_convert_element_type(self, equation: JaxprEqn) -> Sequence[Operand]:
        (atom,) = equation.invars
        source, target = aval(atom).dtype, equation.params["new_dtype"]
        shape = aval(atom).shape
        if target == source or (source == bool and target == self.dtype):
            return [self.read(atom)]
        if target == bool and source == self.dtype:
            zero = self._literal(0.0, _width(shape))
            return [self.emit("ne", _width(shape), [self.view(atom, shape), zero])]
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
            power = self.emit("mul", _width(shape), [power, factor])
        if exponent < 0:
            power = self.emit("div", _width(shape), [self._literal(1.0, _width(shape)), power])
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
        low, high, interior = columns
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
            return operand.spread(_width(shape))
        return self._constant(operand, shape)

    def result(self, view: View, index: int) -> None:
        """Write a value of every step to a result."""
        if self._is_free(view):
            view.value.space, view.value.index, view.value.over_time = RESULT, index, True
            return
        self.copy(view, View(Value(view.width, RESULT, index, over_time=True), 0, view.width))

    def owned(self, view: View) -> View:
        """Return a copy of a value that lives in an argument or in the carry."""
        if view.value.root.space is None or view.value.root.space == RESULT:
            if not view.repeated:
                return view
        return self.emit("copy", view.width, [view])


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:], dtype=np.int64))


def _require_last_axis(equation: JaxprEqn, axis: int) -> None:
    if len(aval(equation.outvars[0]).shape) != 2 or axis != 1:
        raise UnsupportedError(f"{equation.primitive.name} along another axis than the last of two")


def lower(
    equations: Sequence[JaxprEqn],
    constants: dict[Any, Array],
    carry: tuple[Sequence[Var], Sequence[Any], Sequence[Array]],
    inputs: tuple[Sequence[Var], Sequence[Array]],
    outputs: Sequence[Any],
    *,
    length: int,
    reverse: bool,
) -> Program:
    """Lower a step.

    Args:
        equations: The equations of a step, in order.
        constants: The value of each variable that is the same at every step.
        carry: The variables of the carry, the variables or literals of the next carry, and the first carry.
        inputs: The variables of the inputs of a step, and the inputs of all steps.
        outputs: The variables or literals that the loop stacks over time.
        length: The number of steps.
        reverse: True if the loop runs from the last step to the first.

    Raises:
        UnsupportedError: The native loop cannot run an equation, or has no common dtype or batch.
    """
    carry_vars, next_carry, first_carry = carry
    read = set(variables([atom for equation in equations for atom in equation.invars] + [*next_carry, *outputs]))
    used_inputs = [(var, array) for var, array in zip(*inputs, strict=True) if var in read]
    rows, dtype = _rows_and_dtype(carry_vars, [var for var, _ in used_inputs])
    lowering = Lowering(equations, [*next_carry, *outputs], rows, dtype)
    lowering.environment.update(constants)

    states = []
    for var, start in zip(carry_vars, first_carry, strict=True):
        lowering.add_argument(start)
        state = Value(_width(aval(var).shape), THREAD)
        states.append(state)
        lowering.environment[var] = View(state, 0, state.width)
    for var, array in used_inputs:
        number = lowering.add_argument(array.astype(dtype))
        value = Value(_width(aval(var).shape), ARGUMENT, number, over_time=True)
        lowering.environment[var] = View(value, 0, value.width)

    for equation in equations:
        lowering.lower(equation)

    results = [jax.ShapeDtypeStruct(start.shape, dtype) for start in first_carry]
    numbers: list[int] = []
    known: dict[Any, int] = {}
    for atom in outputs:
        if isinstance(atom, Literal) or atom not in known:
            shape = aval(atom).shape
            view = lowering.returned(lowering.read(atom), shape)
            lowering.result(view, len(results))
            known[atom if isinstance(atom, Var) else id(atom)] = len(results)
            results.append(jax.ShapeDtypeStruct((length, *shape), dtype))
            numbers.append(len(results) - 1)
        else:
            numbers.append(known[atom])
    nexts = []
    for var, atom in zip(carry_vars, next_carry, strict=True):
        view = lowering.returned(lowering.read(atom), aval(var).shape)
        nexts.append(lowering.owned(view))

    words = _encoded(lowering, states, nexts, length, reverse)
    literals = np.asarray(lowering.literals or [0.0], np.float64)
    return Program(words, literals, lowering.arguments, dtype, results, numbers)


def _rows_and_dtype(carry_vars: Sequence[Var], input_vars: Sequence[Var]) -> tuple[int, np.dtype]:
    avals = [aval(var) for var in (*carry_vars, *input_vars)]
    if any(not value.shape for value in avals) or not avals:
        raise UnsupportedError("a carry or an input without an axis for the batch")
    rows = {value.shape[0] for value in avals}
    dtypes = {value.dtype for value in avals if value.dtype != bool}
    if len(rows) != 1 or len(dtypes) != 1 or any(aval(var).dtype == bool for var in carry_vars):
        raise UnsupportedError("carries and inputs of several batches or dtypes")
    dtype = dtypes.pop()
    if dtype not in (np.float32, np.float64):
        raise UnsupportedError(f"the dtype {dtype}")
    return rows.pop(), np.dtype(dtype)


def _encoded(lowering: Lowering, states: list[Value], nexts: list[View], length: int, reverse: bool) -> np.ndarray:
    """Return the numbers that loop.cc reads: the structs of its `Program`, each list after its length."""
    segments = _segments(lowering.instructions)
    for number, (first, count) in enumerate(segments):
        for instruction in lowering.instructions[first : first + count]:
            for view in (instruction.out, *instruction.inputs):
                if view is not None:
                    view.value.root.segments.add(number)
    for view in nexts:
        view.value.root.segments.add(len(segments))

    thread_width = 0
    for state in states:
        state.index = thread_width
        thread_width += state.width
    chunk_widths = [0] * len(segments)
    placed: set[int] = set()
    for number, (first, count) in enumerate(segments):
        for instruction in lowering.instructions[first : first + count]:
            root = instruction.out.value.root
            if id(root) in placed or root.space is not None:
                continue
            placed.add(id(root))
            is_local = len(root.segments) == 1 and instruction.name != "matmul"
            root.space = CHUNK if is_local else THREAD
            root.index = chunk_widths[number] if is_local else thread_width
            if is_local:
                chunk_widths[number] += root.width
            else:
                thread_width += root.width

    buffers: dict[int, list[int]] = {}
    numbers: dict[int, int] = {}

    def operand(view: View | None) -> list[int]:
        if view is None:
            return list(NONE)
        root, offset = view.value, view.offset
        while root.parent is not None:
            offset += root.parent.offset
            root = root.parent.value
        if id(root) not in numbers:
            row_stride = root.width if root.per_row else 0
            step_stride = lowering.rows * root.width if root.over_time else 0
            assert root.space is not None
            numbers[id(root)] = len(buffers)
            buffers[id(root)] = [root.space, root.index, row_stride, step_stride]
        return [numbers[id(root)], offset, 0 if view.repeated else 1]

    instructions = []
    for instruction in lowering.instructions:
        inputs = [operand(view) for view in (*instruction.inputs, None, None, None)[:3]]
        instructions.append(
            [NUMBER[instruction.name], instruction.width, *operand(instruction.out), *itertools.chain(*inputs)]
            + [instruction.weight, instruction.inner]
        )
    segment_words = []
    for (first, count), width in zip(segments, chunk_widths, strict=True):
        is_matmul = lowering.instructions[first].name == "matmul"
        widest = max(instruction.width for instruction in lowering.instructions[first : first + count])
        segment_words.append([first, count, 0 if is_matmul else max(width, widest)])
    carry = []
    for number, (state, view) in enumerate(zip(states, nexts, strict=True)):
        carry.append([number, number, state.width, *operand(View(state, 0, state.width)), *operand(view)])
    header = [length, lowering.rows, int(reverse), thread_width]
    lists = [list(buffers.values()), instructions, segment_words, [list(weight) for weight in lowering.weights], carry]
    words = list(header)
    for entries in lists:
        words.append(len(entries))
        words.extend(itertools.chain(*entries))
    return np.asarray(words, np.int64)


def _segments(instructions: Sequence[Instruction]) -> list[tuple[int, int]]:
    """Return (first, count) of the segments: each matmul alone, and the operations between matmuls."""
    segments: list[tuple[int, int]] = []
    for number, instruction in enumerate(instructions):
        starts = not segments or "matmul" in (instruction.name, instructions[number - 1].name)
        if starts:
            segments.append((number, 1))
        else:
            first, count = segments[-1]
            segments[-1] = (first, count + 1)
    return segments
