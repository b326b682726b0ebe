"""The loop forward, which keeps a record, and the loop back, which is traced first."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import JaxprEqn, Var

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.equations import Environment, flat, needed, read, run, variables
from nlstm_jax.unroll.fused.operations import WeightMatmul
from nlstm_jax.unroll.fused.step import Step, step_of

Values: TypeAlias = list[Any]
"""Arrays, or their shapes."""


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, xs: Any, length: int, reverse: bool
) -> tuple[Any, Any]:
    """`jax.lax.scan(partial(body, constants), carry, xs, length, reverse)`, fast to differentiate in reverse mode.

    The carry must be of floats. A body with effects, one that prints, is run by `jax.lax.scan` itself.
    """
    step, leaves, rebuilt = _traced(body, constants, carry, xs, axes=1)
    if step.has_effects:
        return jax.lax.scan(partial(body, constants), carry, xs, length, reverse)

    @jax.custom_vjp
    def over_time(constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        prepared = step.prepare_constants(constants)
        return jax.lax.scan(lambda carry, x: step.run(prepared, carry, x, _apply), carry, xs, length, reverse)

    def forward(*groups: Any) -> Any:
        wanted = [leaf.perturbed and _is_float(leaf.value) for leaf in groups[2]]
        constants, carry, xs = ([leaf.value for leaf in group] for group in groups)
        prepared = step.prepare_constants(constants)
        back = _back_of(step, wanted, _shapes(prepared), _shapes(carry), _shapes(xs, axes=1))

        def recording(carry: Values, inputs: Values) -> Any:
            after, ys, record = _recorded(step, prepared, carry, inputs)
            return after, (ys, list(itertools.compress(record, back.kept)))

        end, (ys, kept) = jax.lax.scan(recording, carry, xs, length, reverse)
        return (end, ys), (jax.tree_util.Partial(back.run), constants, xs, kept)

    def backward(stored: Any, cotangents: Any) -> Any:
        run_back, constants, xs, kept = stored
        end_bar, ys_bar = jax.tree.map(_instantiated, cotangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
        prepared, transpose = jax.vjp(step.prepare_constants, constants)
        prepared_bar, carry_bar, xs_bar = run_back(prepared, xs, kept, end_bar, ys_bar, length, not reverse)
        return (*transpose(prepared_bar), carry_bar, xs_bar)

    over_time.defvjp(forward, backward, symbolic_zeros=True)
    return rebuilt(*over_time(*leaves))


def hoisted(function: Callable[[Any, Any], Any], constants: Any, xs: Any) -> Any:
    """`function(constants, xs)`, outside of any loop, with the weights' gradients as fast as `scan` has them."""

    def handle(operation: Any, *operands: Array) -> Values:
        return operation.whole(*operands) if isinstance(operation, WeightMatmul) else operation.apply(*operands)

    step, leaves, rebuilt = _traced(lambda constants, _, xs: ((), function(constants, xs)), constants, (), xs, axes=0)
    if step.has_effects:
        return function(constants, xs)
    return rebuilt(*step.run(step.prepare_constants(leaves[0]), leaves[1], leaves[2], handle))[1]


def _traced(
    body: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, xs: Any, axes: int
) -> tuple[Step, list[Values], Callable[[Values, Values], tuple[Any, Any]]]:
    """A body of pytrees as a step of lists.

    Args:
        body: (constants, carry, inputs) → (carry, outputs).
        constants, carry, xs: what it is given; inputs are `xs` without so many first axes.
        axes: 1 for slices in time, 0 for all of it.

    Returns:
        The step, the leaves of what it is given, and what makes pytrees of the two lists that it returns.
    """
    given = jax.tree.map(jnp.asarray, (constants, carry, xs))
    leaves, trees = zip(*map(jax.tree.flatten, given), strict=True)
    returned: list[Any] = []

    def on_lists(*groups: Values) -> tuple[Values, Values]:
        results = body(*map(jax.tree.unflatten, trees, groups))
        returned[:] = map(jax.tree.structure, results)
        return jax.tree.leaves(results[0]), jax.tree.leaves(results[1])

    step = step_of(on_lists, _shapes(leaves[0]), _shapes(leaves[1]), _shapes(leaves[2], axes))

    def rebuilt(after: Values, outputs: Values) -> tuple[Any, Any]:
        return jax.tree.unflatten(returned[0], after), jax.tree.unflatten(returned[1], outputs)

    return step, list(leaves), rebuilt


class _Back(NamedTuple):
    """The loop back, traced.

    Attributes:
        step: the step forward.
        literals, equations: those of a step back.
        given: its variables, of (carry_bar, ys_bar, prepared, turned weights, inputs, record).
        returned: the cotangents of (carry, what is prepared and not a weight alone, wanted inputs, products).
        direct: the places, in what is prepared, of what is not a weight alone.
        wanted: for each input whether its cotangent is.
        kept: for each value of a step's record whether it is stored.
        operands: for each product the variable, of the inputs or the record, of what was multiplied.
    """

    step: Step
    literals: Environment
    equations: list[JaxprEqn]
    given: list[list[Var]]
    returned: list[list[Any]]
    direct: list[int]
    wanted: list[bool]
    kept: list[bool]
    operands: list[Var]

    def run(
        self, prepared: Values, xs: Values, kept: Values, end_bar: Values, ys_bar: Values, length: int, reverse: bool
    ) -> tuple[Values, Values, Values]:
        """The cotangents of what is prepared, of the initial carry and of the inputs."""
        carry_bar, direct_bar, inputs_bar, products_bar = self.returned
        record = list(itertools.compress(self.given[5], self.kept))
        transposed = self.step.transposed(prepared)
        fixed = self.literals | dict(zip((*self.given[2], *self.given[3]), (*prepared, *transposed), strict=True))
        # One and the same cotangent, as a gate's is its product's and its bias' too, is stacked once.
        stacked = list(dict.fromkeys(variables(inputs_bar + products_bar)))
        summed = [var for var in dict.fromkeys(variables(direct_bar)) if var not in stacked]

        def body(state: Any, slices: Any) -> Any:
            environment = fixed | dict(zip(self.given[0], state[0], strict=True))
            for group, values in zip((self.given[1], self.given[4], record), slices, strict=True):
                environment |= dict(zip(group, values, strict=True))
            run(self.equations, environment)
            sums = [total + environment[var] for total, var in zip(state[1], summed, strict=True)]
            return ([read(environment, var) for var in carry_bar], sums), [environment[var] for var in stacked]

        zeros = [_zeros_of(var) for var in summed]
        (start_bar, totals), over_time = jax.lax.scan(body, (end_bar, zeros), (ys_bar, xs, kept), length, reverse)
        total_of, bars = dict(zip(summed, totals, strict=True)), dict(zip(stacked, over_time, strict=True))

        def bar(var: Any) -> Array:
            return bars[var] if var in bars else jnp.full((length, *var.aval.shape), var.val, var.aval.dtype)

        prepared_bar = [_zero(value) for value in prepared]
        for index, var in zip(self.direct, direct_bar, strict=True):
            prepared_bar[index] = total_of[var] if var in total_of else bar(var).sum(0)
        values_of = dict(zip((*self.given[4], *record), (*xs, *kept), strict=True))
        for product, operand, var in zip(self.step.products, self.operands, products_bar, strict=True):
            index = self.step.prepared.index(product.weight)
            prepared_bar[index] += product.weight_cotangent(values_of[operand], prepared[index], bar(var))
        found = iter(inputs_bar)
        return prepared_bar, start_bar, [bar(next(found)) if wanted else None for wanted in self.wanted]


def _back_of(step: Step, wanted: list[bool], prepared: Values, carry: Values, inputs: Values) -> _Back:
    """Trace a step back, and find what it needs."""
    plain = [var for each in step.operations if isinstance(each, JaxprEqn) for var in variables(each.invars)]
    used = {*plain, *variables(step.after + step.outputs)}
    direct = [index for index, var in enumerate(step.prepared) if var in used and _is_float(prepared[index])]
    places = [index for index, is_wanted in enumerate(wanted) if is_wanted]

    def back(
        after_bar: Values, ys_bar: Values, prepared: Values, transposed: Values, inputs: Values, record: Values
    ) -> Any:
        def replay(carry: Values, prepared_part: Values, inputs_part: Values, taps: Values) -> Any:
            values, spare, weights = iter(record[len(carry) :]), iter(taps), iter(transposed)

            def handle(operation: Any, *operands: Array) -> Values:
                if isinstance(operation, WeightMatmul):
                    next(values)
                    operands = (operands[0], next(weights), next(spare))
                return operation.replay(*operands, *itertools.islice(values, len(operation.outputs)))

            now = _replaced(prepared, direct, prepared_part), carry, _replaced(inputs, places, inputs_part)
            return step.run(*now, handle)

        parts = [prepared[index] for index in direct], [inputs[index] for index in places]
        taps = [_zeros_of(var) for product in step.products for var in product.outputs]
        _, transpose = jax.vjp(replay, record[: len(carry)], *parts, taps)
        return transpose((after_bar, ys_bar))

    after, ys, record = jax.eval_shape(lambda *groups: _recorded(step, *groups), prepared, carry, inputs)
    groups = (after, ys, prepared, jax.eval_shape(step.transposed, prepared), inputs, record)
    jaxpr, literals = flat(back, *groups)
    given = _grouped(jaxpr.invars, groups)
    returned = _grouped(jaxpr.outvars, (carry, direct, places, step.products))
    equations, necessary = needed(jaxpr.eqns, jaxpr.outvars)
    operands = _operands(step, given[4], given[5])
    kept = [var in necessary or var in operands for var in given[5]]
    return _Back(step, literals, equations, given, returned, direct, wanted, kept, operands)


def _recorded(step: Step, prepared: Values, carry: Values, inputs: Values) -> tuple[Values, Values, Values]:
    """A step, and its record: the carry before it, and of each operation the operand, if a product's, and results."""
    record = list(carry)

    def handle(operation: Any, *operands: Array) -> Values:
        results = operation.apply(*operands)
        record.extend((operands[0], *results) if isinstance(operation, WeightMatmul) else results)
        return results

    return *step.run(prepared, carry, inputs, handle), record


def _operands(step: Step, inputs: list[Var], record: list[Var]) -> list[Var]:
    """For each product the variable of what was multiplied: an input, or the first place in the record that has it."""
    given = dict(zip((*step.inputs, *step.carry), (*inputs, *record), strict=False))
    operands, place = [], len(step.carry)
    for operation in step.operations:
        if isinstance(operation, WeightMatmul):
            operands.append(given.get(operation.operand, record[place]))
            place += 1
        place += 0 if isinstance(operation, JaxprEqn) else len(operation.outputs)
    return operands


def _apply(operation: Any, *operands: Array) -> Values:
    return operation.apply(*operands)


def _replaced(values: Values, places: list[int], others: Values) -> Values:
    """The values, with others in these places."""
    at = dict(zip(places, others, strict=True))
    return [at.get(index, value) for index, value in enumerate(values)]


def _shapes(leaves: Sequence[Any], axes: int = 0) -> Values:
    """Shapes and dtypes, without so many first axes."""
    return [jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype) for leaf in leaves]


def _grouped(atoms: Sequence[Any], groups: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Variables in groups of the sizes of `groups`."""
    rest = iter(atoms)
    return [list(itertools.islice(rest, len(group))) for group in groups]


def _is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


def _zeros_of(var: Any) -> Array:
    return jnp.zeros(var.aval.shape, var.aval.dtype)


def _zero(value: Array) -> Any:
    return jnp.zeros_like(value) if _is_float(value) else np.zeros(value.shape, jax.dtypes.float0)


def _instantiated(cotangent: Any) -> Array:
    return jnp.zeros(cotangent.shape, cotangent.dtype) if isinstance(cotangent, SymbolicZero) else cotangent
