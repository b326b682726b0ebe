"""`jax.lax.scan` as one call of the native loop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Var

from nlstm_jax.types import Array, PyTree
from nlstm_jax.unroll.fused.equations import (
    Environment,
    Values,
    dead_code_eliminated,
    grouped,
    read_value,
    run_equations,
    shapes_of,
    variables,
    with_calls_inlined,
    with_leaves,
)
from nlstm_jax.unroll.native.library import load_library
from nlstm_jax.unroll.native.program import lower
from nlstm_jax.unroll.native.values import UnsupportedError


def scan(
    body: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    length: int | None,
    reverse: bool,
    *,
    parts: int = 0,
) -> tuple[PyTree, PyTree]:
    """Run `jax.lax.scan(body, carry, xs, length, reverse)` on a CPU, in one call of compiled C++.

    All arrays of a step must have one leading axis, the batch, and rows must not depend on each other. Sums over the
    batch are possible where the carry adds them up, as the gradient of a bias does. A derivative of this function is
    that of `jax.lax.scan`.

    Args:
        body: The function (carry, x) → (next carry, y) of pytrees of arrays.
        carry: The first carry. All leaves have the dtype float32, or all float64.
        xs: The inputs; leaves [T, B, ...] of the same dtype, or of bool.
        length: The number of steps T. None, a symbolic number, is refused.
        reverse: True if the loop runs from the last step to the first.
        parts: The number of blocks of rows that are run in parallel; 0: as many as there are threads.

    Raises:
        UnsupportedError: The body has an operation that the native loop lacks.
        CompilerError: There is no native loop on this machine.
    """
    if length is None:
        raise UnsupportedError("a symbolic number of steps")
    load_library()
    carry_leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    x_leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(xs)]
    one_step = (shapes_of(carry), shapes_of(xs, skipped_axes=1))
    closed, (next_carry, outputs) = jax.make_jaxpr(body, return_shape=True)(*one_step)
    if closed.effects:
        raise UnsupportedError("a step with effects")
    jaxpr, constants = with_calls_inlined(closed, *one_step, primal=True)
    step = _Step(jaxpr, list(constants), len(carry_leaves), length, reverse, parts)

    @jax.custom_jvp
    def run(constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        return step.run_native(constants, carry, xs)

    @run.defjvp
    def run_jvp(primals: Any, tangents: Any) -> Any:
        return jax.jvp(step.run_plain, primals, tangents)

    last_carry, ys = run(list(constants.values()), carry_leaves, x_leaves)
    return with_leaves(next_carry, last_carry), with_leaves(outputs, ys)


class _Accumulators(NamedTuple):
    """Sums over the batch that the carry adds up, and the equations that lead to them.

    Attributes:
        rowwise: The equations that keep rows apart.
        mixing: The equations of the sums over the batch, and those that depend on them.
        increments: For each leaf of the carry, what a step adds to it; None: the leaf is no sum.
        boundary: The variables that `mixing` reads and `rowwise` or the inputs give.
    """

    rowwise: list[JaxprEqn]
    mixing: list[JaxprEqn]
    increments: list[Any]
    boundary: list[Var]


class _Step(NamedTuple):
    """A traced step, and how it is run.

    Attributes:
        jaxpr: The equations of (carry, x) → (next carry, y).
        constants: The variables of what is the same at every step.
        carry_size: The number of leaves of the carry.
        length: The number of steps.
        reverse: True if the loop runs from the last step to the first.
        parts: The number of blocks of rows; 0: as many as there are threads.
    """

    jaxpr: Jaxpr
    constants: list[Var]
    carry_size: int
    length: int
    reverse: bool
    parts: int

    def run_plain(self, constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        """Run the step by `jax.lax.scan`."""

        def body(carry: Values, inputs: Values) -> tuple[Values, Values]:
            environment: Environment = dict(zip(self.constants, constants, strict=True))
            environment |= dict(zip(self.jaxpr.invars, (*carry, *inputs), strict=True))
            run_equations(self.jaxpr.eqns, environment)
            returned = [read_value(environment, atom) for atom in self.jaxpr.outvars]
            return returned[: self.carry_size], returned[self.carry_size :]

        return jax.lax.scan(body, carry, xs, self.length, self.reverse)

    def run_native(self, constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        """Run the step by the native loop."""
        carry_vars, input_vars = grouped(self.jaxpr.invars, (carry, xs))
        next_carry, outputs = grouped(self.jaxpr.outvars, (carry, self.jaxpr.outvars[len(carry) :]))
        equations, _ = dead_code_eliminated(self.jaxpr.eqns, self.jaxpr.outvars)
        known = dict(zip(self.constants, constants, strict=True))
        sums = _accumulators(equations, carry_vars, next_carry, outputs, known)

        kept = [index for index, increment in enumerate(sums.increments) if increment is None]
        program = lower(
            sums.rowwise,
            known,
            ([carry_vars[i] for i in kept], [next_carry[i] for i in kept], [carry[i] for i in kept]),
            (input_vars, xs),
            [*outputs, *sums.boundary],
            length=self.length,
            reverse=self.reverse,
        )
        target = f"nlstm_jax_loop_{program.dtype}"
        call = jax.ffi.ffi_call(target, program.results, vmap_method="sequential")
        results = call(
            *program.arguments, program=program.words, literals=program.literals, parts=np.int32(self.parts)
        )

        stacked = [results[number] for number in program.outputs]
        ys = stacked[: len(outputs)]
        totals = self._totals(sums, known, dict(zip(sums.boundary, stacked[len(outputs) :], strict=True)))
        last_carry = list(carry)
        for result, index in zip(results, kept, strict=False):
            last_carry[index] = result
        for index, increment in enumerate(sums.increments):
            if increment is not None:
                last_carry[index] = carry[index] + totals[index]
        return last_carry, ys

    def _totals(self, sums: _Accumulators, known: Environment, boundary: dict[Var, Array]) -> dict[int, Array]:
        """Return the sums over the batch and over time, by the index of their leaf of the carry."""

        def increments(values: Values) -> Values:
            environment = known | dict(zip(boundary, values, strict=True))
            run_equations(sums.mixing, environment)
            return [read_value(environment, atom) for atom in sums.increments if atom is not None]

        indices = [index for index, increment in enumerate(sums.increments) if increment is not None]
        if not indices:
            return {}
        over_time = jax.vmap(increments)(list(boundary.values()))
        return {index: values.sum(0) for index, values in zip(indices, over_time, strict=True)}


def _accumulators(
    equations: Sequence[JaxprEqn],
    carry_vars: Sequence[Var],
    next_carry: Sequence[Any],
    outputs: Sequence[Any],
    known: Environment,
) -> _Accumulators:
    """Find sums over the batch in the carry.

    Raises:
        UnsupportedError: Rows depend on each other in another way.
    """
    mixed: set[Var] = set()
    rowwise = []
    mixing = []
    for equation in equations:
        operands = variables(equation.invars)
        if not mixed.isdisjoint(operands) or _sums_over_the_batch(equation, known):
            mixing.append(equation)
            mixed.update(equation.outvars)
        else:
            rowwise.append(equation)

    increments: list[Any] = []
    additions = set()
    for var, atom in zip(carry_vars, next_carry, strict=True):
        increment = None
        if isinstance(atom, Var) and atom in mixed:
            addition = next(equation for equation in mixing if atom in equation.outvars)
            if addition.primitive.name not in ("add", "add_any") or var not in variables(addition.invars):
                raise UnsupportedError(f"{addition.primitive.name} of a sum over the batch in the carry")
            (increment,) = (operand for operand in addition.invars if operand is not var)
            additions.add(atom)
        increments.append(increment)
    mixing = [equation for equation in mixing if additions.isdisjoint(equation.outvars)]

    sums = {var for var, increment in zip(carry_vars, increments, strict=True) if increment is not None}
    others = [atom for atom, increment in zip(next_carry, increments, strict=True) if increment is None]
    if not mixed.isdisjoint(variables([*others, *outputs])):
        raise UnsupportedError("outputs that depend on a sum over the batch")
    read = variables([atom for equation in (*rowwise, *mixing) for atom in equation.invars])
    if not sums.isdisjoint([*read, *variables([*others, *outputs])]):
        raise UnsupportedError("a sum over the batch that the step reads")
    needed = variables([atom for equation in mixing for atom in equation.invars])
    needed += variables([increment for increment in increments if increment is not None])
    boundary = [var for var in dict.fromkeys(needed) if var not in mixed and var not in known]
    return _Accumulators(rowwise, mixing, increments, boundary)


def _sums_over_the_batch(equation: JaxprEqn, known: Environment) -> bool:
    """Return True if an equation sums over the first axis of a value that is not the same at every step."""
    varies = [isinstance(atom, Var) and atom not in known for atom in equation.invars]
    if equation.primitive.name.startswith("reduce_") and "axes" in equation.params:
        return varies[0] and 0 in equation.params["axes"]
    if equation.primitive.name == "dot_general":
        contracted = equation.params["dimension_numbers"][0]
        return any(is_varying and 0 in axes for is_varying, axes in zip(varies, contracted, strict=True))
    return False
