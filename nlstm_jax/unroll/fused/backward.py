"""The backward loop: one step of it is traced before the forward loop runs, and shows what has to be stored."""

import itertools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var

from nlstm_jax.types import AnyArray, Array
from nlstm_jax.unroll.fused.equations import (
    Atom,
    Environment,
    Item,
    Values,
    aval,
    dead_code_eliminated,
    grouped,
    is_float,
    read_value,
    run_equations,
    variables,
    with_calls_inlined,
    zeros_of,
)
from nlstm_jax.unroll.fused.operations import Pattern, WeightMatmul
from nlstm_jax.unroll.fused.step import Handler, Step, apply_operation
from nlstm_jax.unroll.options import StepCount
from nlstm_jax.unroll.scan import constant_length

Scan: TypeAlias = Callable[..., tuple[Any, Any]]
"""(body, first carry, inputs, length, reverse) → (last carry, outputs), as `jax.lax.scan`."""


class BackwardInputs(NamedTuple, Generic[Item]):
    """The variables that a backward step reads, or their values.

    Attributes:
        carry_bar: The cotangents of the carry after the step.
        ys_bar: The cotangents of the outputs of the step.
        prepared: The prepared constants of the forward step.
        transposed_weights: The weights of the matmuls, transposed.
        inputs: The inputs of the forward step.
        record: The record of the forward step, as returned by `record_step`.
    """

    carry_bar: list[Item]
    ys_bar: list[Item]
    prepared: list[Item]
    transposed_weights: list[Item]
    inputs: list[Item]
    record: list[Item]


class BackwardOutputs(NamedTuple):
    """The variables or literals that a backward step returns.

    Attributes:
        carry_bar: The cotangents of the carry before the step.
        direct_bar: The cotangents of the direct constants, for this step.
        inputs_bar: The cotangents of those inputs of the step that need one.
        matmuls_bar: The cotangents of the results of the matmuls.
    """

    carry_bar: list[Atom]
    direct_bar: list[Atom]
    inputs_bar: list[Atom]
    matmuls_bar: list[Atom]


class BackwardLoop(NamedTuple):
    """The backward loop, traced.

    Attributes:
        step: The forward step.
        literals: The values of arrays that stand in the equations.
        equations: The equations of a backward step.
        reads: The variables that a backward step reads.
        returns: The variables or literals that a backward step returns.
        direct_constants: The indices of prepared constants of floats that are not used as weights of matmuls alone.
        needs_cotangent: For each input of the step, True if its cotangent is needed.
        is_stored: For each value of the record, True if the forward loop has to store it.
        operands: For each matmul, the variable among `reads.inputs` and `reads.record` of the value it multiplied.
        scan: The loop, with the arguments and results of `jax.lax.scan`.
    """

    step: Step
    literals: Environment
    equations: list[JaxprEqn]
    reads: BackwardInputs[Var]
    returns: BackwardOutputs
    direct_constants: list[int]
    needs_cotangent: list[bool]
    is_stored: list[bool]
    operands: list[Var]
    scan: Scan

    def run(
        self,
        prepared: Values,
        xs: Values,
        stored: Values,
        last_carry_bar: Values,
        ys_bar: Values,
        length: StepCount,
        reverse: bool,
    ) -> tuple[Values, Values, Values]:
        """Run the backward loop.

        Args:
            prepared: The prepared constants.
            xs: The inputs of all steps.
            stored: The stored values of the records of all steps.
            last_carry_bar: The cotangents of the last carry.
            ys_bar: The cotangents of the outputs of all steps.
            length: The number of steps.
            reverse: True if this loop runs from the last step to the first.

        Returns:
            The cotangents of the prepared constants, of the first carry, and of the inputs of all steps; None for an
            input that needs none.
        """
        stored_vars = list(itertools.compress(self.reads.record, self.is_stored))
        transposed_weights = self.step.transposed_weights(prepared)
        fixed_vars = (*self.reads.prepared, *self.reads.transposed_weights)
        fixed_values = (*prepared, *transposed_weights)
        fixed = self.literals | dict(zip(fixed_vars, fixed_values, strict=True))

        # The cotangents that the loop stacks over time, and those that it sums. The cotangent of a gate is also that
        # of its matmul and of its bias: it is stacked once.
        stacked_vars = list(dict.fromkeys(variables(self.returns.inputs_bar + self.returns.matmuls_bar)))
        direct_vars = dict.fromkeys(variables(self.returns.direct_bar))
        summed_vars = [var for var in direct_vars if var not in stacked_vars]

        def run_step(
            state: tuple[Values, Values], slices: tuple[Values, Values, Values]
        ) -> tuple[tuple[Values, Values], Values]:
            carry_bar, totals = state
            ys_bar, inputs, stored = slices
            environment = fixed | dict(zip(self.reads.carry_bar, carry_bar, strict=True))
            environment |= dict(zip(self.reads.ys_bar, ys_bar, strict=True))
            environment |= dict(zip(self.reads.inputs, inputs, strict=True))
            environment |= dict(zip(stored_vars, stored, strict=True))
            run_equations(self.equations, environment)
            totals = [total + environment[var] for total, var in zip(totals, summed_vars, strict=True)]
            carry_bar = [read_value(environment, atom) for atom in self.returns.carry_bar]
            return (carry_bar, totals), [environment[var] for var in stacked_vars]

        zeros = [zeros_of(var) for var in summed_vars]
        (first_carry_bar, totals), stacked = self.scan(
            run_step, (last_carry_bar, zeros), (ys_bar, xs, stored), constant_length(length), reverse
        )
        total_of = dict(zip(summed_vars, totals, strict=True))
        stacked_of = dict(zip(stacked_vars, stacked, strict=True))

        def cotangent_over_time(atom: Atom) -> Array:
            if isinstance(atom, Literal):
                # The same at every step.
                return jnp.full((length, *aval(atom).shape), atom.val, aval(atom).dtype)
            return stacked_of[atom]

        prepared_bar = [_zero_cotangent(value) for value in prepared]
        for index, atom in zip(self.direct_constants, self.returns.direct_bar, strict=True):
            if not isinstance(atom, Literal) and atom in total_of:
                prepared_bar[index] = total_of[atom]
            else:
                prepared_bar[index] = cotangent_over_time(atom).sum(0)

        # The gradient of each weight is one matmul over all steps.
        value_of = dict(zip((*self.reads.inputs, *stored_vars), (*xs, *stored), strict=True))
        for matmul, operand, atom in zip(self.step.matmuls, self.operands, self.returns.matmuls_bar, strict=True):
            index = self.step.prepared.index(matmul.weight)
            y_bar = cotangent_over_time(atom)
            prepared_bar[index] += matmul.weight_cotangent(value_of[operand], prepared[index], y_bar)

        inputs_bar = iter(self.returns.inputs_bar)
        xs_bar = [cotangent_over_time(next(inputs_bar)) if needed else None for needed in self.needs_cotangent]
        return prepared_bar, first_carry_bar, xs_bar


def trace_backward(
    step: Step, needs_cotangent: list[bool], prepared: Values, carry: Values, inputs: Values, scan: Scan
) -> BackwardLoop:
    """Trace one backward step, and find the values of the forward step that it needs.

    Args:
        step: The forward step.
        needs_cotangent: For each input of the step, True if its cotangent is needed.
        prepared: The shapes and dtypes of the prepared constants.
        carry: The shapes and dtypes of the carry.
        inputs: The shapes and dtypes of the inputs of one step.
        scan: The loop, with the arguments and results of `jax.lax.scan`.
    """
    carry_shapes = carry
    direct_constants = _direct_constants(step, prepared)
    differentiated_inputs = [index for index, needed in enumerate(needs_cotangent) if needed]

    def backward_step(
        next_carry_bar: Values,
        ys_bar: Values,
        prepared: Values,
        transposed_weights: Values,
        inputs: Values,
        record: Values,
    ) -> tuple[Values, Values, Values, Values]:
        carry = record[: len(carry_shapes)]
        recorded_values = record[len(carry_shapes) :]

        def replay_step(
            carry: Values, direct_values: Values, input_values: Values, cotangent_taps: Values
        ) -> tuple[Values, Values]:
            values = iter(recorded_values)
            weights = iter(transposed_weights)
            taps = iter(cotangent_taps)

            def handle(operation: Pattern, *operands: Array) -> Values:
                if isinstance(operation, WeightMatmul):
                    # The recorded operand: the weight's gradient reads it after the loop.
                    next(values)
                    operands = (operands[0], next(weights), next(taps))
                results = itertools.islice(values, len(operation.outputs))
                return operation.replay(*operands, *results)

            replayed_prepared = _replace_at(prepared, direct_constants, direct_values)
            replayed_inputs = _replace_at(inputs, differentiated_inputs, input_values)
            return step.run(replayed_prepared, carry, replayed_inputs, handle)

        direct_values = [prepared[index] for index in direct_constants]
        input_values = [inputs[index] for index in differentiated_inputs]
        cotangent_taps = [zeros_of(var) for matmul in step.matmuls for var in matmul.outputs]
        _, transpose = jax.vjp(replay_step, carry, direct_values, input_values, cotangent_taps)
        return transpose((next_carry_bar, ys_bar))

    def recorded(prepared: Values, carry: Values, inputs: Values) -> tuple[Values, Values, Values]:
        return record_step(step, prepared, carry, inputs)

    next_carry, ys, record = jax.eval_shape(recorded, prepared, carry, inputs)
    transposed_weights = jax.eval_shape(step.transposed_weights, prepared)
    arguments = BackwardInputs(next_carry, ys, prepared, transposed_weights, inputs, record)
    closed = jax.make_jaxpr(backward_step)(*arguments)
    jaxpr, literals = with_calls_inlined(closed, *arguments)
    reads = BackwardInputs(*grouped(jaxpr.invars, arguments))
    returns = BackwardOutputs(*grouped(jaxpr.outvars, (carry, direct_constants, differentiated_inputs, step.matmuls)))
    equations, live_variables = dead_code_eliminated(jaxpr.eqns, jaxpr.outvars)
    operands = _find_operands(step, reads.inputs, reads.record)
    return BackwardLoop(
        step=step,
        literals=literals,
        equations=equations,
        reads=reads,
        returns=returns,
        direct_constants=direct_constants,
        needs_cotangent=needs_cotangent,
        is_stored=[var in live_variables or var in operands for var in reads.record],
        operands=operands,
        scan=scan,
    )


def record_step(
    step: Step, prepared: Values, carry: Values, inputs: Values, apply: Handler = apply_operation
) -> tuple[Values, Values, Values]:
    """Run a forward step, and record the values that a backward step may need.

    Args:
        step: The step.
        prepared: The prepared constants.
        carry: The carry before the step.
        inputs: The inputs of the step.
        apply: The function that computes a `WeightMatmul` or `GateActivations`.

    Returns:
        The next carry, the outputs, and the record. The record holds the carry before the step and then, operation by
        operation in the order of the step, the operand and the result of each `WeightMatmul` and the results of each
        `GateActivations`.
    """
    record = list(carry)

    def handle(operation: Pattern, *operands: Array) -> Values:
        results = apply(operation, *operands)
        if isinstance(operation, WeightMatmul):
            record.append(operands[0])
        record.extend(results)
        return results

    next_carry, outputs = step.run(prepared, carry, inputs, handle)
    return next_carry, outputs, record


def _direct_constants(step: Step, prepared: Values) -> list[int]:
    """Return the indices of prepared constants of floats that are not used as weights of matmuls alone."""
    read_directly = set(variables(step.next_carry + step.outputs))
    for operation in step.operations:
        if isinstance(operation, JaxprEqn):
            read_directly.update(variables(operation.invars))
    return [index for index, var in enumerate(step.prepared) if var in read_directly and is_float(prepared[index])]


def _find_operands(step: Step, inputs: list[Var], record: list[Var]) -> list[Var]:
    """Return for each matmul the variable of a backward step that holds the value it multiplied.

    That is an input or the carry of the forward step, if the value is one, and otherwise the value in the record.
    """
    var_of = dict(zip((*step.inputs, *step.carry), (*inputs, *record), strict=False))
    operands = []
    record_index = len(step.carry)
    for operation in step.operations:
        if isinstance(operation, JaxprEqn):
            continue
        if isinstance(operation, WeightMatmul):
            operands.append(var_of.get(operation.operand, record[record_index]))
            record_index += 1
        record_index += len(operation.outputs)
    return operands


def _replace_at(values: Values, indices: list[int], replacements: Values) -> Values:
    """Return the values, with those at some indices replaced."""
    replacement_at = dict(zip(indices, replacements, strict=True))
    return [replacement_at.get(index, value) for index, value in enumerate(values)]


def _zero_cotangent(value: Array) -> AnyArray:
    if is_float(value):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
