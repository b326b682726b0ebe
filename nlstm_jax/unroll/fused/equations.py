"""Functions as equations (a jaxpr's), run one by one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

Environment: TypeAlias = dict[Any, Any]
"""The values of variables."""


def flat(function: Callable[..., Any], *arguments: Any) -> tuple[Jaxpr, Environment]:
    """The equations of a function of pytrees, those of inner `jit`s in their places, and its literal arrays."""
    closed = jax.make_jaxpr(function)(*arguments)

    def inlined(*values: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, values)

    whole = jax.make_jaxpr(inlined)(*jax.tree.leaves(arguments))
    return whole.jaxpr, dict(zip(whole.jaxpr.constvars, whole.consts, strict=True))


def run(equations: Iterable[JaxprEqn], environment: Environment) -> None:
    """Run equations, their results into the environment."""
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
    wanted = set(variables(outputs))
    kept = []
    for equation in reversed(equations):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(variables(equation.invars))
    return kept[::-1], wanted


def variables(atoms: Iterable[Any]) -> list[Var]:
    """The variables among variables and literals."""
    return [atom for atom in atoms if isinstance(atom, Var)]


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *values), strict=True))
    run(jaxpr.eqns, environment)
    return [read(environment, var) for var in jaxpr.outvars]
