"""Functions as lists of equations (those of a jaxpr), which are run one by one."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from nlstm_jax.types import Array, PyTree

Item = TypeVar("Item")
Tree = TypeVar("Tree")

Atom: TypeAlias = Var | Literal
"""An operand of an equation."""

Value: TypeAlias = Any
"""An array, the shape and dtype of one, or a scalar that stands in an equation."""

Values: TypeAlias = list[Value]

Environment: TypeAlias = dict[Var, Value]
"""The value of every variable that has one."""


def with_calls_inlined(closed: ClosedJaxpr, *arguments: PyTree, primal: bool = False) -> tuple[Jaxpr, Environment]:
    """Put the equations of inner `jit`s of a traced function in their place.

    Args:
        closed: The result of `jax.make_jaxpr` of the function.
        arguments: The arguments that it was traced with.
        primal: Also put the equations of functions with derivatives of their own in their place, which loses these
            derivatives.

    Returns:
        The jaxpr, whose inputs are the leaves of the arguments, and the values of its literal arrays.
    """

    def inlined(*values: Value) -> Values:
        return _evaluate_jaxpr(closed.jaxpr, closed.consts, values, primal)

    closed_inlined = jax.make_jaxpr(inlined)(*jax.tree.leaves(arguments))
    jaxpr = closed_inlined.jaxpr
    return jaxpr, dict(zip(jaxpr.constvars, closed_inlined.consts, strict=True))


def run_equations(equations: Iterable[JaxprEqn], environment: Environment, primal: bool = False) -> None:
    """Run equations in order, and add their results to the environment.

    Args:
        equations: The equations.
        environment: The values of the variables that they read.
        primal: Run what is inside of functions with derivatives of their own.
    """
    for equation in equations:
        values = [read_value(environment, atom) for atom in equation.invars]
        results = _run_equation(equation, values, primal)
        environment.update(zip(equation.outvars, results, strict=True))


def read_value(environment: Environment, atom: Atom) -> Value:
    """Return the value of a variable or of a literal."""
    if isinstance(atom, Literal):
        return atom.val
    return environment[atom]


def dead_code_eliminated(equations: Sequence[JaxprEqn], outputs: Iterable[Atom]) -> tuple[list[JaxprEqn], set[Var]]:
    """Return the equations that `outputs` depend on, and all variables that these equations and `outputs` read."""
    live_variables = set(variables(outputs))
    live_equations = []
    for equation in reversed(equations):
        if live_variables.intersection(equation.outvars):
            live_equations.append(equation)
            live_variables.update(variables(equation.invars))
    live_equations.reverse()
    return live_equations, live_variables


def variables(atoms: Iterable[Atom]) -> list[Var]:
    """Return the variables among variables and literals."""
    return [atom for atom in atoms if isinstance(atom, Var)]


def grouped(atoms: Sequence[Item], groups: Iterable[Sequence[object]]) -> list[list[Item]]:
    """Split `atoms` into consecutive lists that are as long as those of `groups`."""
    remaining = iter(atoms)
    return [list(itertools.islice(remaining, len(group))) for group in groups]


def aval(atom: Atom) -> ShapedArray:
    """Return the abstract value of a variable or literal, which has its shape and dtype."""
    return cast(ShapedArray, atom.aval)


def zeros_of(atom: Atom) -> Array:
    """Return zeros of the shape and dtype of a variable or literal."""
    return jnp.zeros(aval(atom).shape, aval(atom).dtype)


def shapes_of(arrays: PyTree, skipped_axes: int = 0) -> PyTree:
    """Return the shapes and dtypes of a pytree of arrays, without their first `skipped_axes` axes."""
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[skipped_axes:], array.dtype), arrays)


def with_leaves(tree: Tree, leaves: Values) -> Tree:
    """Return the leaves in the structure of a pytree."""
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def is_float(array: Value) -> bool:
    """Return True if an array, or a shape and dtype, is of floats."""
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def _run_equation(equation: JaxprEqn, values: Values, primal: bool = False) -> Sequence[Value]:
    primitive = equation.primitive
    if primitive.name in ("jit", "pjit"):
        inner = equation.params["jaxpr"]
        return _evaluate_jaxpr(inner.jaxpr, inner.consts, values, primal)
    if primal and primitive.name in ("custom_jvp_call", "custom_vjp_call"):
        inner = equation.params["call_jaxpr"]
        return _evaluate_jaxpr(inner.jaxpr, inner.consts, values, primal)

    # The context holds the settings that the equation was traced under, as its matmul precision.
    with equation.ctx.manager:
        results = primitive.bind(*values, **primitive.get_bind_params(equation.params))
    if primitive.multiple_results:
        return results
    return [results]


def _evaluate_jaxpr(jaxpr: Jaxpr, constants: Sequence[Value], values: Sequence[Value], primal: bool = False) -> Values:
    inputs = (*jaxpr.constvars, *jaxpr.invars)
    environment = dict(zip(inputs, (*constants, *values), strict=True))
    run_equations(jaxpr.eqns, environment, primal)
    return [read_value(environment, atom) for atom in jaxpr.outvars]
