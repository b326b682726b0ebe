"""The body of a loop as a list of operations, sorted by what they depend on."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from jax.extend.core import ClosedJaxpr, JaxprEqn, Var

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.equations import (
    Atom,
    Environment,
    Value,
    Values,
    aval,
    dead_code_eliminated,
    grouped,
    read_value,
    run_equations,
    variables,
    with_calls_inlined,
)
from nlstm_jax.unroll.fused.operations import GateActivations, Operation, Pattern, WeightMatmul

ACTIVATIONS = ("tanh", "logistic")
"""The names of primitives whose derivative is a function of their result."""

Handler: TypeAlias = Callable[..., Values]
"""(operation, *operands) → results, for a `WeightMatmul` or `GateActivations`."""


class Step(NamedTuple):
    """A body (constants, carry, inputs) → (carry, outputs), all of them lists of arrays.

    Attributes:
        has_effects: True if the body does more than return values, for example prints.
        literals: The values of arrays that stand in the equations.
        constants: The variables of the constants.
        carry: The variables of the carry.
        inputs: The variables of the inputs.
        preparation: The equations that depend on constants alone.
        prepared: The variables of constants, and of results of `preparation`, that the operations read.
        operations: All other equations, with matmuls and activations recognized.
        next_carry: The variables or literals of the returned carry.
        outputs: The variables or literals of the returned outputs.
    """

    has_effects: bool
    literals: Environment
    constants: list[Var]
    carry: list[Var]
    inputs: list[Var]
    preparation: list[JaxprEqn]
    prepared: list[Var]
    operations: list[Operation]
    next_carry: list[Atom]
    outputs: list[Atom]

    @property
    def matmuls(self) -> list[WeightMatmul]:
        """The matmuls with weights among the operations."""
        return [operation for operation in self.operations if isinstance(operation, WeightMatmul)]

    @property
    def gated_operations(self) -> int:
        """The number of operations that compute gates by σ."""
        gates = [operation for operation in self.operations if isinstance(operation, GateActivations)]
        return sum("logistic" in operation.names for operation in gates)

    def prepare_constants(self, constants: Sequence[Value]) -> Values:
        """Compute the values of `prepared`, once before the loop."""
        environment = self.literals | dict(zip(self.constants, constants, strict=True))
        run_equations(self.preparation, environment)
        return [environment[var] for var in self.prepared]

    def transposed_weights(self, prepared: Sequence[Value]) -> Values:
        """Return the weight of each matmul as its `replay` takes it."""
        environment = dict(zip(self.prepared, prepared, strict=True))
        return [matmul.transposed_weight(environment[matmul.weight]) for matmul in self.matmuls]

    def run(
        self, prepared: Sequence[Value], carry: Sequence[Value], inputs: Sequence[Value], handle: Handler
    ) -> tuple[Values, Values]:
        """Run one step.

        Args:
            prepared: The values of `prepared`.
            carry: The carry before the step.
            inputs: The inputs of the step.
            handle: The function that computes every `WeightMatmul` and `GateActivations`.

        Returns:
            The next carry and the outputs.
        """
        step_variables = (*self.prepared, *self.carry, *self.inputs)
        values = (*prepared, *carry, *inputs)
        environment = self.literals | dict(zip(step_variables, values, strict=True))
        for operation in self.operations:
            if isinstance(operation, JaxprEqn):
                run_equations([operation], environment)
                continue
            operands = [environment[var] for var in operation.inputs]
            results = handle(operation, *operands)
            environment.update(zip(operation.outputs, results, strict=True))

        next_carry = [read_value(environment, atom) for atom in self.next_carry]
        outputs = [read_value(environment, atom) for atom in self.outputs]
        return next_carry, outputs


def apply_operation(operation: Pattern, *operands: Array) -> Values:
    """Compute a `WeightMatmul` or `GateActivations`."""
    return operation.apply(*operands)


def sorted_step(closed: ClosedJaxpr, constants: Values, carry: Values, inputs: Values) -> Step:
    """Sort the equations of a traced body.

    Args:
        closed: The result of `jax.make_jaxpr` of the function (constants, carry, inputs) → (carry, outputs).
        constants: The shapes and dtypes of the arrays that are the same at every step.
        carry: The shapes and dtypes of the arrays that are passed from step to step.
        inputs: The shapes and dtypes of the arrays of one step.
    """
    jaxpr, literals = with_calls_inlined(closed, constants, carry, inputs)
    constant_vars, carry_vars, input_vars = grouped(jaxpr.invars, (constants, carry, inputs))
    live_equations, _ = dead_code_eliminated(jaxpr.eqns, jaxpr.outvars)

    # The variables that depend on constants alone, and those that change from step to step.
    fixed = set(constant_vars)
    varying = {*carry_vars, *input_vars}
    preparation = []
    per_step = []
    for equation in live_equations:
        operands = variables(equation.invars)
        # A user's own backward pass, for example clipping, is run at every step: it need not be linear.
        has_custom_vjp = "custom_vjp" in equation.primitive.name
        if has_custom_vjp or not varying.isdisjoint(operands):
            varying.update(equation.outvars)
        elif not fixed.isdisjoint(operands):
            fixed.update(equation.outvars)
        # An equation that depends on nothing is cheap, and is put in both lists.
        if fixed.isdisjoint(equation.outvars):
            per_step.append(equation)
        if varying.isdisjoint(equation.outvars):
            preparation.append(equation)

    read_per_step = [var for equation in per_step for var in variables(equation.invars)]
    read_per_step += variables(jaxpr.outvars)
    prepared = [var for var in dict.fromkeys(read_per_step) if var in fixed]
    preparation, _ = dead_code_eliminated(preparation, prepared)
    return Step(
        has_effects=bool(jaxpr.effects),
        literals=literals,
        constants=constant_vars,
        carry=carry_vars,
        inputs=input_vars,
        preparation=preparation,
        prepared=prepared,
        operations=_match_patterns(per_step, fixed, jaxpr.outvars),
        next_carry=jaxpr.outvars[: len(carry)],
        outputs=jaxpr.outvars[len(carry) :],
    )


def _match_patterns(equations: list[JaxprEqn], fixed: set[Var], returned: Sequence[Atom]) -> list[Operation]:
    """Return the equations, with matmuls with weights and activations of gates as operations of their own.

    Args:
        equations: The equations of a step.
        fixed: The variables that depend on constants alone.
        returned: The variables or literals that the step returns.
    """
    uses = Counter(variables(returned))
    for equation in equations:
        uses.update(variables(equation.invars))
    equations = _with_weights_on_the_right(equations, fixed, uses)

    # The activation of each variable that has one. A gate that is also used without its activation would have to be
    # stored twice, and is left out.
    activated = {
        var: equation
        for equation in equations
        if equation.primitive.name in ACTIVATIONS
        for var in variables(equation.invars)
        if uses[var] == 1
    }
    operations: list[Operation] = []
    computed: set[Var] = set()
    for equation in equations:
        operation = _match_activations(equation, activated) or _match_weight_matmul(equation, fixed) or equation
        if computed.isdisjoint(equation.outvars):
            operations.append(operation)
        if isinstance(operation, GateActivations):
            computed.update(operation.outputs)
    return operations


def _with_weights_on_the_right(equations: list[JaxprEqn], fixed: set[Var], uses: Counter[Var]) -> list[JaxprEqn]:
    """Exchange the factors of matmuls with the weight on the left whose results are transposed at once.

    `jnp.matmul(w, x)` of a batch of columns x [B, n, 1] is traced as a matmul with a result [m, B, 1] and a
    transposition to [B, m, 1]. With x on the left the batch is the first axis everywhere.

    Args:
        equations: The equations of a step.
        fixed: The variables that depend on constants alone.
        uses: The number of uses of each variable.
    """
    transpositions = {
        equation.invars[0]: equation
        for equation in equations
        if equation.primitive.name == "transpose" and isinstance(equation.invars[0], Var)
    }
    replaced: dict[Var, JaxprEqn] = {}
    exchanged = []
    for equation in equations:
        matmul = _match_weight_matmul(equation, fixed)
        result = equation.outvars[0]
        transposition = transpositions.get(result)
        if matmul is None or matmul.weight is not equation.invars[0] or transposition is None or uses[result] != 1:
            exchanged.append(replaced.get(result, equation))
            continue
        contracted, batch = equation.params["dimension_numbers"]
        weight_axes = len(aval(matmul.weight).shape) - len(contracted[0]) - len(batch[0])
        axes = list(range(len(aval(result).shape)))
        order = [*axes[: len(batch[0])], *axes[len(batch[0]) + weight_axes :]]
        order += axes[len(batch[0]) : len(batch[0]) + weight_axes]
        product = Var(aval(result).update(shape=tuple(aval(result).shape[axis] for axis in order)))
        permutation = tuple(order.index(axis) for axis in transposition.params["permutation"])
        exchanged.append(
            equation.replace(
                invars=[matmul.operand, matmul.weight],
                outvars=[product],
                params={**equation.params, "dimension_numbers": (contracted[::-1], batch[::-1])},
            )
        )
        replaced[transposition.outvars[0]] = transposition.replace(
            invars=[product], params={**transposition.params, "permutation": permutation}
        )
    return exchanged


def _match_activations(equation: JaxprEqn, activated: dict[Var, JaxprEqn]) -> GateActivations | None:
    """Match an activation, or a split of the last axis together with the activations of its parts.

    Args:
        equation: The equation to match.
        activated: The activation of each variable that has one.
    """
    if not equation.invars or not isinstance(equation.invars[0], Var):
        return None
    source = equation.invars[0]
    shape = aval(source).shape
    if not shape:
        return None
    if equation.primitive.name in ACTIVATIONS:
        return GateActivations(source, (equation.primitive.name,), shape[-1:], tuple(equation.outvars))

    splits_last_axis = equation.primitive.name == "split" and equation.params["axis"] == len(shape) - 1
    if not splits_last_axis or activated.keys().isdisjoint(equation.outvars):
        return None
    names = []
    outputs = []
    for linear in equation.outvars:
        if linear in activated:
            activation = activated[linear]
            names.append(activation.primitive.name)
            outputs.append(activation.outvars[0])
        else:
            names.append("")
            outputs.append(linear)
    return GateActivations(source, tuple(names), tuple(map(int, equation.params["sizes"])), tuple(outputs))


def _match_weight_matmul(equation: JaxprEqn, fixed: set[Var]) -> WeightMatmul | None:
    """Match a matmul of which exactly one side depends on constants alone."""
    if equation.primitive.name != "dot_general":
        return None
    left, right = equation.invars
    if not isinstance(left, Var) or not isinstance(right, Var):
        return None
    if left in fixed and right not in fixed:
        return WeightMatmul(equation, operand=right, weight=left)
    if right in fixed and left not in fixed:
        return WeightMatmul(equation, operand=left, weight=right)
    return None
