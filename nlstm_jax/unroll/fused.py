"""`jax.lax.scan` with a backward pass of its own, for any body: the fast path.

What JAX makes of a scan's gradient is right and slow: it sums the weights' gradients in the loop, and it stores the
operands of every elementary operation. Here the body is traced once and read as a list of equations:

- What depends on constants alone (a part of a weight, or its cast) is computed once, before the loop.
- A product with such a weight is not differentiated in the loop back, which keeps the cotangent ȳ of the result; the
  weight's gradient is one product after the loop, Σ_t x_tᵀ ȳ_t.
- tanh and σ are differentiated by what they returned, so none is computed on the way back; those of the gates of one
  block are one pass over the block.
- The loop back is traced before the loop forward, which stores what that needs and nothing else.

All else of the body is differentiated by JAX, a step at a time.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import JaxprEqn, Var

from nlstm_jax.types import Array
from nlstm_jax.unroll.equations import Environment, Product, Step, flat, needed, read, run, step_of


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, xs: Any, length: int, reverse: bool
) -> tuple[Any, Any]:
    """`jax.lax.scan(partial(body, constants), carry, xs, length, reverse)`, fast to differentiate in reverse mode."""
    leaves, trees = zip(*(jax.tree.flatten(each) for each in (constants, carry, xs)), strict=True)
    outputs: list[Any] = []

    def on_lists(*groups: list[Array]) -> tuple[list[Array], list[Array]]:
        results = body(*(jax.tree.unflatten(tree, group) for tree, group in zip(trees, groups, strict=True)))
        outputs[:] = [jax.tree.structure(each) for each in results]
        return jax.tree.leaves(results[0]), jax.tree.leaves(results[1])

    step = step_of(on_lists, _shapes(leaves[0]), _shapes(leaves[1]), _shapes(leaves[2], axes=1))

    @jax.custom_vjp
    def over_time(constants: list[Array], carry: list[Array], xs: list[Array]) -> Any:
        prepared = step.prepare(constants)
        return jax.lax.scan(lambda carry, x: step.run(prepared, carry, x, _apply), carry, xs, length, reverse)

    def forward(*groups: Any) -> Any:
        wanted = [leaf.perturbed and _is_float(leaf.value) for leaf in groups[2]]
        constants, carry, xs = ([leaf.value for leaf in group] for group in groups)
        prepared = step.prepare(constants)
        back = _back_of(step, wanted, _shapes(prepared), _shapes(carry), _shapes(xs, axes=1))

        def recording(carry: list[Array], inputs: list[Array]) -> Any:
            after, ys, record = _recorded(step, prepared, carry, inputs)
            return after, (ys, [value for value, is_kept in zip(record, back.kept, strict=True) if is_kept])

        end, (ys, kept) = jax.lax.scan(recording, carry, xs, length, reverse)
        return (end, ys), (jax.tree_util.Partial(back.run), constants, xs, kept)

    def backward(stored: Any, cotangents: Any) -> Any:
        run_back, constants, xs, kept = stored
        end_bar, ys_bar = jax.tree.map(_instantiated, cotangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
        prepared, transpose = jax.vjp(step.prepare, constants)
        prepared_bar, carry_bar, xs_bar = run_back(prepared, xs, kept, end_bar, ys_bar, length, not reverse)
        return (*transpose(prepared_bar), carry_bar, xs_bar)

    over_time.defvjp(forward, backward, symbolic_zeros=True)
    end, ys = over_time(*leaves)
    return jax.tree.unflatten(outputs[0], end), jax.tree.unflatten(outputs[1], ys)


def ahead(function: Callable[[Any, Any], Any], constants: Any, xs: Any) -> Any:
    """`function(constants, xs)`, outside of any loop, with weights' gradients as fast as `scan` has them."""
    leaves, trees = zip(*(jax.tree.flatten(each) for each in (constants, xs)), strict=True)
    result: list[Any] = []

    def on_lists(constants: list[Array], _: list[Array], xs: list[Array]) -> tuple[list[Array], list[Array]]:
        returned = function(*map(jax.tree.unflatten, trees, (constants, xs)))
        result[:] = [jax.tree.structure(returned)]
        return [], jax.tree.leaves(returned)

    step = step_of(on_lists, _shapes(leaves[0]), [], _shapes(leaves[1]))

    def handle(operation: Any, *operands: Array) -> list[Array]:
        return operation.whole(*operands) if isinstance(operation, Product) else operation.apply(*operands)

    return jax.tree.unflatten(result[0], step.run(step.prepare(leaves[0]), [], leaves[1], handle)[1])


class _Back(NamedTuple):
    """The loop back, traced.

    Attributes:
        step: the step forward.
        literals, equations: those of a step back.
        given: the variables of (carry_bar, ys_bar, prepared, inputs, record).
        returned: those of the cotangents of (carry, what is prepared and not a weight alone, inputs, products).
        direct: the places, in what is prepared, of what is not a weight alone.
        wanted: for each input whether its cotangent is.
        kept: for each value of a step's record whether it is stored.
    """

    step: Step
    literals: Environment
    equations: list[JaxprEqn]
    given: list[list[Var]]
    returned: list[list[Any]]
    direct: list[int]
    wanted: list[bool]
    kept: list[bool]

    def run(
        self,
        prepared: list[Array],
        xs: list[Array],
        kept: list[Array],
        end_bar: list[Array],
        ys_bar: list[Array],
        length: int,
        reverse: bool,
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """The cotangents of what is prepared, of the initial carry and of the inputs."""
        carry_bar, direct_bar, inputs_bar, products_bar = self.returned
        fixed = self.literals | dict(zip(self.given[2], prepared, strict=True))
        record = [var for var, is_kept in zip(self.given[4], self.kept, strict=True) if is_kept]
        # One and the same cotangent, as a gate's is its product's and its bias' too, is stacked once.
        stacked = list(dict.fromkeys(var for var in inputs_bar + products_bar if isinstance(var, Var)))
        summed = [var for var in dict.fromkeys(direct_bar) if isinstance(var, Var) and var not in stacked]

        def body(state: Any, slices: Any) -> Any:
            environment = fixed | dict(zip(self.given[0], state[0], strict=True))
            for group, values in zip((self.given[1], self.given[3], record), slices, strict=True):
                environment |= dict(zip(group, values, strict=True))
            run(self.equations, environment)
            totals = [total + environment[var] for total, var in zip(state[1], summed, strict=True)]
            return ([read(environment, var) for var in carry_bar], totals), [environment[var] for var in stacked]

        zeros = [jnp.zeros(var.aval.shape, var.aval.dtype) for var in summed]
        (start_bar, totals), over_time = jax.lax.scan(body, (end_bar, zeros), (ys_bar, xs, kept), length, reverse)
        bars, sums = dict(zip(stacked, over_time, strict=True)), dict(zip(summed, totals, strict=True))

        def bar(var: Any) -> Array:
            return bars[var] if isinstance(var, Var) else jnp.full((length, *var.aval.shape), var.val, var.aval.dtype)

        prepared_bar = [_zero(value) for value in prepared]
        for index, var in zip(self.direct, direct_bar, strict=True):
            prepared_bar[index] = sums[var] if var in sums else bar(var).sum(0)
        operands = dict(zip(self.given[3], xs, strict=True)) | dict(zip(record, kept, strict=True))
        products = [operation for operation in self.step.operations if isinstance(operation, Product)]
        for product, place, product_bar in zip(products, self._operands(), products_bar, strict=True):
            index = self.step.prepared.index(product.weight)
            prepared_bar[index] += product.weight_cotangent(operands[place], prepared[index], bar(product_bar))
        found = iter(inputs_bar)
        xs_bar = [bar(next(found)) if wanted else None for wanted in self.wanted]
        return prepared_bar, start_bar, xs_bar

    def _operands(self) -> list[Var]:
        """For each product the variable, of the record or the inputs, of what was multiplied."""
        return [self.given[3][place] if is_input else self.given[4][place] for is_input, place in _operands(self.step)]


def _back_of(step: Step, wanted: list[bool], prepared: list[Array], carry: list[Array], inputs: list[Array]) -> _Back:
    """Trace a step back, and find what it needs."""
    plain = [operation for operation in step.operations if isinstance(operation, JaxprEqn)]
    used = {var for equation in plain for var in equation.invars if isinstance(var, Var)}
    used |= {var for var in step.after + step.outputs if isinstance(var, Var)}
    direct = [index for index, var in enumerate(step.prepared) if var in used and _is_float(prepared[index])]
    operations = [operation for operation in step.operations if not isinstance(operation, JaxprEqn)]

    def back(
        after_bar: list[Array], ys_bar: list[Array], prepared: list[Array], inputs: list[Array], record: list[Array]
    ) -> tuple[list[Array], ...]:
        def replay(
            carry: list[Array], direct_values: list[Array], wanted_inputs: list[Array], taps: list[Array]
        ) -> Any:
            all_prepared, all_inputs = list(prepared), list(inputs)
            for index, value in zip(direct, direct_values, strict=True):
                all_prepared[index] = value
            for index, value in zip(places, wanted_inputs, strict=True):
                all_inputs[index] = value
            values, spare = iter(record[len(carry) :]), iter(taps)

            def handle(operation: Any, *operands: Array) -> list[Array]:
                if isinstance(operation, Product):
                    next(values)
                    operands = (*operands, next(spare))
                return operation.replay(*operands, *itertools.islice(values, len(operation.outputs)))

            return step.run(all_prepared, carry, all_inputs, handle)

        taps = [jnp.zeros(var.aval.shape, var.aval.dtype) for var in results]
        differentiated = (
            record[: len(carry)],
            [prepared[index] for index in direct],
            [inputs[index] for index in places],
            taps,
        )
        _, transpose = jax.vjp(replay, *differentiated)
        return transpose((after_bar, ys_bar))

    places = [index for index, is_wanted in enumerate(wanted) if is_wanted]
    results = [operation.equation.outvars[0] for operation in operations if isinstance(operation, Product)]
    after, ys, record = jax.eval_shape(lambda *groups: _recorded(step, *groups), prepared, carry, inputs)
    groups = (after, ys, prepared, inputs, record)
    jaxpr, literals = flat(back, *groups)
    given, returned = _grouped(jaxpr.invars, groups), _grouped(jaxpr.outvars, (carry, direct, places, results))
    equations, variables = needed(jaxpr.eqns, jaxpr.outvars)
    multiplied = {given[4][place] for is_input, place in _operands(step) if not is_input}
    kept = [var in variables or var in multiplied for var in given[4]]
    return _Back(step, literals, equations, given, returned, direct, wanted, kept)


def _recorded(
    step: Step, prepared: list[Array], carry: list[Array], inputs: list[Array]
) -> tuple[Any, Any, list[Array]]:
    """A step, and its record: the carry before it, and of each operation the operand, if a product's, and result."""
    record = list(carry)

    def handle(operation: Any, *operands: Array) -> list[Array]:
        results = operation.apply(*operands)
        record.extend((operands[0], *results) if isinstance(operation, Product) else results)
        return results

    return *step.run(prepared, carry, inputs, handle), record


def _operands(step: Step) -> list[tuple[bool, int]]:
    """For each product (whether an input, else a value of the record, was multiplied, the place of it)."""
    found, place = [], len(step.carry)
    for operation in step.operations:
        if isinstance(operation, Product):
            if operation.operand in step.inputs:
                found.append((True, step.inputs.index(operation.operand)))
            elif operation.operand in step.carry:
                found.append((False, step.carry.index(operation.operand)))
            else:
                found.append((False, place))
        if not isinstance(operation, JaxprEqn):
            place += isinstance(operation, Product) + len(operation.outputs)
    return found


def _apply(operation: Any, *operands: Array) -> list[Array]:
    return operation.apply(*operands)


def _shapes(leaves: Sequence[Any], axes: int = 0) -> list[Any]:
    """Shapes and dtypes, without so many first axes."""
    return [jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype) for leaf in leaves]


def _grouped(variables: Sequence[Any], groups: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Variables in groups of the sizes of `groups`."""
    rest = iter(variables)
    return [[next(rest) for _ in group] for group in groups]


def _is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


def _zero(value: Array) -> Any:
    return jnp.zeros_like(value) if _is_float(value) else np.zeros(value.shape, jax.dtypes.float0)


def _instantiated(cotangent: Any) -> Array:
    return jnp.zeros(cotangent.shape, cotangent.dtype) if isinstance(cotangent, SymbolicZero) else cotangent
