"""The program of a step: its operations and where each value lives, as the numbers that loop.cc reads."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.equations import Atom, Environment, aval, variables
from nlstm_jax.unroll.native.lowering import Lowering, width_of
from nlstm_jax.unroll.native.values import (
    ARGUMENT,
    CHUNK,
    NO_OPERAND,
    NUMBER,
    THREAD,
    Instruction,
    UnsupportedError,
    Value,
    View,
)


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


def lower(
    equations: Sequence[JaxprEqn],
    constants: Environment,
    carry: tuple[Sequence[Var], Sequence[Atom], Sequence[Array]],
    inputs: tuple[Sequence[Var], Sequence[Array]],
    outputs: Sequence[Atom],
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
        state = Value(width_of(aval(var).shape), THREAD)
        states.append(state)
        lowering.environment[var] = View(state, 0, state.width)
    for var, array in used_inputs:
        number = lowering.add_argument(array.astype(dtype))
        value = Value(width_of(aval(var).shape), ARGUMENT, number, over_time=True)
        lowering.environment[var] = View(value, 0, value.width)

    for equation in equations:
        lowering.lower(equation)

    results = [jax.ShapeDtypeStruct(start.shape, dtype) for start in first_carry]
    numbers: list[int] = []
    known: dict[Atom | int, int] = {}
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
    dtypes = {value.dtype for value in avals if value.dtype != np.bool_}
    if len(rows) != 1 or len(dtypes) != 1 or any(aval(var).dtype == np.bool_ for var in carry_vars):
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
            return list(NO_OPERAND)
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
            [
                NUMBER[instruction.name],
                instruction.width,
                *operand(instruction.out),
                *itertools.chain(*inputs),
                instruction.weight,
                instruction.inner,
            ]
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
