"""The body of a loop as equations, read one by one: what depends on what, products with weights, activations."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from nlstm_jax.types import Array

Environment: TypeAlias = dict[Any, Any]

# s and a of σ(z) = ½ tanh(½ z) + ½ and of tanh itself, as a·tanh(s·z) + (1 − a); "" is the identity.
_SCALES = {"logistic": (0.5, 0.5), "tanh": (1.0, 1.0), "": (1.0, 1.0)}


class Product(NamedTuple):
    """A product of something of the step's with a weight, which depends on constants alone."""

    equation: JaxprEqn
    operand: Var
    weight: Var

    @property
    def inputs(self) -> tuple[Var, ...]:
        """What is multiplied, and the weight."""
        return self.operand, self.weight

    def apply(self, x: Array, w: Array) -> list[Array]:
        """The product."""
        return [self._product(x, w)]

    def replay(self, x: Array, w: Array, tap: Array, y: Array) -> list[Array]:
        """`y`, which `apply` returned: the cotangent of x is ȳ wᵀ, that of `tap` is ȳ, and w has none."""

        @jax.custom_vjp
        def replayed(x: Array, w: Array, tap: Array, y: Array) -> Array:
            del x, w, tap
            return y

        def forward(x: Array, w: Array, tap: Array, y: Array) -> tuple[Array, Array]:
            del tap
            return y, w

        def backward(w: Array, y_bar: Array) -> tuple[Any, ...]:
            (x_bar,) = jax.linear_transpose(lambda x: self._product(x, w), x)(y_bar)
            return x_bar, None, y_bar, None

        replayed.defvjp(forward, backward)
        return [replayed(x, w, tap, y)]

    def _product(self, x: Array, w: Array) -> Array:
        pair = (x, w) if self.equation.invars[0] is self.operand else (w, x)
        return self.equation.primitive.bind(*pair, **self.equation.params)

    @property
    def outputs(self) -> tuple[Var, ...]:
        """The result."""
        return tuple(self.equation.outvars)

    def whole(self, x: Array, w: Array) -> list[Array]:
        """The product, whose weight's cotangent is `weight_cotangent`."""

        @jax.custom_vjp
        def product(x: Array, w: Array) -> Array:
            return self._product(x, w)

        def backward(stored: tuple[Array, Array], y_bar: Array) -> tuple[Array, Array]:
            x, w = stored
            (x_bar,) = jax.linear_transpose(lambda x: self._product(x, w), x)(y_bar)
            return x_bar, self.weight_cotangent(x, w, y_bar, time=False)

        product.defvjp(lambda x, w: (self._product(x, w), (x, w)), backward)
        return [product(x, w)]

    def weight_cotangent(self, xs: Array, w: Array, ys_bar: Array, *, time: bool = True) -> Array:
        """Σ_t x_tᵀ ȳ_t, as one product over all time; without `time`, one more leading axis, xᵀ ȳ."""
        (contracted, batch), operand = self.equation.params["dimension_numbers"], self.operand
        axes = tuple(range(xs.ndim - 1))
        if operand is self.equation.invars[0] and contracted == ((len(operand.aval.shape) - 1,), (0,)) and not batch[0]:
            # JAX has it the other way round, ȳᵀ x, which XLA computes at half the speed on a CPU.
            numbers = ((axes, axes), ((), ()))
            return jax.lax.dot_general(xs, ys_bar, numbers, preferred_element_type=ys_bar.dtype).astype(w.dtype)
        product = jax.vmap(self._product, (0, None)) if time else self._product
        (w_bar,) = jax.linear_transpose(lambda w: product(xs, w), w)(ys_bar)
        return w_bar


class Curves(NamedTuple):
    """σ, tanh or nothing of each piece of one array, side by side along its last axis."""

    source: Var
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    outputs: tuple[Var, ...]

    @property
    def inputs(self) -> tuple[Var, ...]:
        """The array."""
        return (self.source,)

    def apply(self, z: Array) -> list[Array]:
        """Each piece's curve, from tanh(s·z) in one pass."""
        scales = np.repeat(np.asarray([_SCALES[name][0] for name in self.names], z.dtype), self.sizes)
        whole = jnp.tanh(z if (scales == 1).all() else z * scales)
        # Without a barrier XLA may compute them anew for everything that uses them.
        whole = jax.lax.optimization_barrier(whole)
        results = []
        for name, t, straight in zip(self.names, self._split(whole), self._split(z), strict=True):
            a = _SCALES[name][1]
            results.append((t if a == 1 else a * t + (1 - a)) if name else straight)
        return results

    def replay(self, z: Array, *pieces: Array) -> list[Array]:
        """The pieces, which `apply` returned, and from which the derivative is taken."""

        @jax.custom_vjp
        def replayed(z: Array, pieces: tuple[Array, ...]) -> tuple[Array, ...]:
            del z
            return pieces

        def backward(pieces: tuple[Array, ...], bars: tuple[Array, ...]) -> tuple[Any, ...]:
            slopes = {"logistic": lambda p: p * (1 - p), "tanh": lambda p: 1 - p * p}
            results = [
                bar * slopes[name](piece) if name else bar
                for name, piece, bar in zip(self.names, pieces, bars, strict=True)
            ]
            return results[0] if len(results) == 1 else jnp.concatenate(results, axis=-1), None

        replayed.defvjp(lambda z, pieces: (pieces, pieces), backward)
        return list(replayed(z, pieces))

    def _split(self, whole: Array) -> Sequence[Array]:
        return jax.lax.split(whole, self.sizes, axis=whole.ndim - 1) if len(self.sizes) > 1 else [whole]


class Step(NamedTuple):
    """A body's equations.

    Attributes:
        literals: arrays that stand in the equations.
        constants, carry, inputs: the variables that are given.
        preparation: the equations that depend on constants alone.
        prepared: the variables of these, and constants, that the rest uses.
        operations: the rest.
        after, outputs: the variables that are returned.
    """

    literals: Environment
    constants: list[Var]
    carry: list[Var]
    inputs: list[Var]
    preparation: list[JaxprEqn]
    prepared: list[Var]
    operations: list[Any]
    after: list[Any]
    outputs: list[Any]

    def prepare(self, constants: Sequence[Array]) -> list[Array]:
        """What is computed once, before the loop."""
        environment = self.literals | dict(zip(self.constants, constants, strict=True))
        run(self.preparation, environment)
        return [environment[var] for var in self.prepared]

    def run(
        self,
        prepared: Sequence[Array],
        carry: Sequence[Array],
        inputs: Sequence[Array],
        handle: Callable[..., list[Array]],
    ) -> tuple[list[Array], list[Array]]:
        """One step; `handle(operation, *operands)` computes every `Product` and `Curves`."""
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
    """Read `body(constants, carry, inputs) -> (carry, outputs)`, all of them lists of arrays."""
    jaxpr, literals = flat(body, constants, carry, inputs)
    first, second = len(constants), len(constants) + len(carry)
    given = jaxpr.invars[:first], jaxpr.invars[first:second], jaxpr.invars[second:]
    returned = jaxpr.outvars[: len(carry)], jaxpr.outvars[len(carry) :]
    moving, fixed = set(given[1] + given[2]), set(given[0])
    preparation, rest = [], []
    for equation in needed(jaxpr.eqns, jaxpr.outvars)[0]:
        if moving.intersection(_variables(equation)):
            moving.update(equation.outvars)
        elif fixed.intersection(_variables(equation)):
            fixed.update(equation.outvars)
            preparation.append(equation)
            continue
        rest.append(equation)
    prepared = {var: None for equation in rest for var in _variables(equation) if var in fixed}
    prepared |= {var: None for var in jaxpr.outvars if isinstance(var, Var) and var in fixed}
    independent = [equation for equation in rest if not moving.intersection(equation.outvars)]
    preparation = needed(independent + preparation, prepared)[0]
    return Step(literals, *given, preparation, list(prepared), _recognised(rest, fixed, jaxpr.outvars), *returned)


def _recognised(equations: list[JaxprEqn], fixed: set[Var], returned: Sequence[Any]) -> list[Any]:
    """The equations, with products with weights and activations as operations of their own."""
    uses = Counter(var for equation in equations for var in _variables(equation))
    uses.update(var for var in returned if isinstance(var, Var))
    activated = {}
    for equation in equations:
        if equation.primitive.name in ("tanh", "logistic") and isinstance(equation.invars[0], Var):
            activated.setdefault(equation.invars[0], equation)
    operations: list[Any] = []
    done: set[Var] = set()
    for equation in equations:
        name, (first, *others) = equation.primitive.name, equation.invars or [None]
        if done.issuperset(equation.outvars):
            continue
        if name == "split" and equation.params["axis"] == len(first.aval.shape) - 1:
            names, outputs = [], []
            for piece in equation.outvars:
                curve = activated.get(piece)
                # A piece that is used as it is besides would be needed twice.
                whole = curve is not None and uses[piece] == 1
                names.append(curve.primitive.name if curve is not None and whole else "")
                outputs.append(curve.outvars[0] if curve is not None and whole else piece)
            if any(names):
                operations.append(Curves(first, tuple(names), tuple(equation.params["sizes"]), tuple(outputs)))
                done.update(outputs)
                continue
        if name in ("tanh", "logistic") and first not in fixed and first.aval.shape:
            operations.append(Curves(first, (name,), first.aval.shape[-1:], tuple(equation.outvars)))
        elif name == "dot_general" and others[0] in fixed and first not in fixed:
            operations.append(Product(equation, first, others[0]))
        elif name == "dot_general" and first in fixed and others[0] not in fixed:
            operations.append(Product(equation, others[0], first))
        else:
            operations.append(equation)
    return operations


def flat(function: Callable[..., Any], *arguments: Any) -> tuple[Jaxpr, Environment]:
    """The equations of a function of pytrees, with those of inner `jit`s in their place, and its literal arrays."""
    closed = jax.make_jaxpr(function)(*arguments)

    def inlined(*values: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, values)

    whole = jax.make_jaxpr(inlined)(*jax.tree.leaves(arguments))
    return whole.jaxpr, dict(zip(whole.jaxpr.constvars, whole.consts, strict=True))


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *values), strict=True))
    run(jaxpr.eqns, environment)
    return [read(environment, var) for var in jaxpr.outvars]


def run(equations: Iterable[JaxprEqn], environment: Environment) -> None:
    """Run equations, those of inner `jit`s one by one."""
    for equation in equations:
        values = [read(environment, var) for var in equation.invars]
        if equation.primitive.name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            results = _evaluate(inner.jaxpr, inner.consts, values)
        else:
            with equation.ctx.manager:
                results = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
            results = results if equation.primitive.multiple_results else [results]
        environment.update(zip(equation.outvars, results, strict=True))


def read(environment: Environment, var: Any) -> Any:
    """A variable's value, or a literal's."""
    return var.val if isinstance(var, Literal) else environment[var]


def needed(equations: Sequence[JaxprEqn], outputs: Iterable[Any]) -> tuple[list[JaxprEqn], set[Var]]:
    """The equations that `outputs` depend on, and all variables of theirs."""
    wanted = {var for var in outputs if isinstance(var, Var)}
    kept = []
    for equation in reversed(equations):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(_variables(equation))
    return kept[::-1], wanted


def _variables(equation: JaxprEqn) -> list[Var]:
    return [var for var in equation.invars if isinstance(var, Var)]
