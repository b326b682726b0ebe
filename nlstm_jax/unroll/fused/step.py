"""A loop's body, its equations sorted by what they depend on."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn, Var

from nlstm_jax.unroll.fused.equations import Environment, flat, needed, read, run, variables
from nlstm_jax.unroll.fused.operations import GateActivations, Operation, WeightMatmul

CURVES = ("tanh", "logistic")
"""Primitives whose derivative is a function of their result."""


class Step(NamedTuple):
    """A body (constants, carry, inputs) → (carry, outputs), all of them lists of arrays.

    Attributes:
        has_effects: whether a run would be noticed by more than what it returns, as one that prints.
        literals: arrays that stand in the equations.
        constants, carry, inputs: the variables that are given.
        preparation: the equations that depend on constants alone.
        prepared: the variables of these, and constants, that the rest uses.
        operations: the rest.
        after, outputs: the variables that are returned.
    """

    has_effects: bool
    literals: Environment
    constants: list[Var]
    carry: list[Var]
    inputs: list[Var]
    preparation: list[JaxprEqn]
    prepared: list[Var]
    operations: list[Operation]
    after: list[Any]
    outputs: list[Any]

    @property
    def products(self) -> list[WeightMatmul]:
        """Those among the operations."""
        return [operation for operation in self.operations if isinstance(operation, WeightMatmul)]

    def prepare_constants(self, constants: Sequence[Any]) -> list[Any]:
        """What is computed once, before the loop."""
        environment = self.literals | dict(zip(self.constants, constants, strict=True))
        run(self.preparation, environment)
        return [environment[var] for var in self.prepared]

    def transposed(self, prepared: Sequence[Any]) -> list[Any]:
        """The weight of each product, as its `replay` takes it."""
        at = dict(zip(self.prepared, prepared, strict=True))
        return [product.transposed(at[product.weight]) for product in self.products]

    def run(
        self,
        prepared: Sequence[Any],
        carry: Sequence[Any],
        inputs: Sequence[Any],
        handle: Callable[..., list[Any]],
    ) -> tuple[list[Any], list[Any]]:
        """One step; `handle(operation, *operands)` computes every `WeightMatmul` and `GateActivations`."""
        given = zip((*self.prepared, *self.carry, *self.inputs), (*prepared, *carry, *inputs), strict=True)
        environment = self.literals | dict(given)
        for operation in self.operations:
            if isinstance(operation, JaxprEqn):
                run([operation], environment)
            else:
                results = handle(operation, *(environment[var] for var in operation.inputs))
                environment.update(zip(operation.outputs, results, strict=True))
        return [read(environment, var) for var in self.after], [read(environment, var) for var in self.outputs]


def step_of(body: Callable[..., Any], constants: list[Any], carry: list[Any], inputs: list[Any]) -> Step:
    """Trace a body on arrays, or their shapes, and sort its equations."""
    jaxpr, literals = flat(body, constants, carry, inputs)
    first, second = len(constants), len(constants) + len(carry)
    given = jaxpr.invars[:first], jaxpr.invars[first:second], jaxpr.invars[second:]
    moving, fixed = {*given[1], *given[2]}, {*given[0]}
    preparation, rest = [], []
    for equation in needed(jaxpr.eqns, jaxpr.outvars)[0]:
        # A backward pass that is a user's own, clipping say, is run at every step: it need not be linear.
        if not moving.isdisjoint(variables(equation.invars)) or "custom_vjp" in equation.primitive.name:
            moving.update(equation.outvars)
        elif not fixed.isdisjoint(variables(equation.invars)):
            fixed.update(equation.outvars)
        # What depends on nothing is cheap, and in both places.
        if fixed.isdisjoint(equation.outvars):
            rest.append(equation)
        if moving.isdisjoint(equation.outvars):
            preparation.append(equation)
    used = [var for equation in rest for var in variables(equation.invars)] + variables(jaxpr.outvars)
    prepared = [var for var in dict.fromkeys(used) if var in fixed]
    preparation, _ = needed(preparation, prepared)
    operations = _recognised(rest, fixed, jaxpr.outvars)
    return Step(
        bool(jaxpr.effects),
        literals,
        *given,
        preparation,
        prepared,
        operations,
        jaxpr.outvars[: len(carry)],
        jaxpr.outvars[len(carry) :],
    )


def _recognised(equations: list[JaxprEqn], fixed: set[Var], returned: Sequence[Any]) -> list[Operation]:
    """The equations, with products with weights and activations as operations of their own."""
    uses = Counter(variables(returned))
    for equation in equations:
        uses.update(variables(equation.invars))
    # A piece that is used as it is besides would be needed twice.
    bent = {
        var: equation
        for equation in equations
        if equation.primitive.name in CURVES
        for var in variables(equation.invars)
        if uses[var] == 1
    }
    operations: list[Operation] = []
    done: set[Var] = set()
    for equation in equations:
        operation = _curves(equation, bent) or _product(equation, fixed) or equation
        if done.isdisjoint(equation.outvars):
            operations.append(operation)
        if isinstance(operation, GateActivations):
            done.update(operation.outputs)
    return operations


def _curves(equation: JaxprEqn, bent: dict[Any, JaxprEqn]) -> GateActivations | None:
    """An activation, or a split of the last axis with all activations of pieces."""
    name, source = equation.primitive.name, equation.invars[0] if equation.invars else None
    if not isinstance(source, Var) or not (shape := source.aval.shape):  # type: ignore[attr-defined]
        return None
    if name in CURVES:
        return GateActivations(source, (name,), shape[-1:], tuple(equation.outvars))
    pieces = equation.outvars
    if name != "split" or equation.params["axis"] != len(shape) - 1 or bent.keys().isdisjoint(pieces):
        return None
    names = tuple(bent[piece].primitive.name if piece in bent else "" for piece in pieces)
    outputs = tuple(bent[piece].outvars[0] if piece in bent else piece for piece in pieces)
    return GateActivations(source, names, tuple(equation.params["sizes"]), outputs)


def _product(equation: JaxprEqn, fixed: set[Var]) -> WeightMatmul | None:
    """A product of which one side is fixed."""
    if equation.primitive.name != "dot_general":
        return None
    left, right = equation.invars
    if not isinstance(left, Var) or not isinstance(right, Var) or (left in fixed) == (right in fixed):
        return None
    return WeightMatmul(equation, right, left) if left in fixed else WeightMatmul(equation, left, right)
