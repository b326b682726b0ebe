"""The optimizer and its learning rate, by optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nlstm_jax.training import penalties
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.types import Array


def schedule(options: Mapping[str, Any], total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate by step.

    `constant`; `cosine`, down to `final_fraction` at `total_steps`; `halving`: constant for `halve_after_epochs`, then
    halved at once and every `halve_every_epochs` (Zaremba et al. 2014). Each after `warmup_steps` linear ones from 0.

    >>> halving = {"schedule": "halving", "learning_rate": 1.0, "warmup_steps": 0, "halve_after_epochs": 4.0,
    ...            "halve_every_epochs": 1.0, "final_fraction": 0.0}
    >>> [float(schedule(halving, 1000, steps_per_epoch=10)(step)) for step in (0, 39, 40, 49, 50)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    peak, warmup = options["learning_rate"], options["warmup_steps"]
    if options["schedule"] == "cosine":
        after = optax.cosine_decay_schedule(peak, max(total_steps - warmup, 1), alpha=options["final_fraction"])
    elif options["schedule"] == "halving":
        after = _halving(peak, options["halve_after_epochs"], options["halve_every_epochs"], steps_per_epoch)
    else:
        after = optax.constant_schedule(peak)
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def build(
    options: Mapping[str, Any], learning_rate: optax.Schedule, penalty: Mapping[str, Any] | None = None
) -> optax.GradientTransformation:
    """Penalties, clipping by the global norm, the optimizer, constraints.

    Args:
        options: the settings; `settings.TRACED_HPARAMS` may be arrays.
        learning_rate: by step.
        penalty: `config.penalty`.
    """
    name, momentum = options["name"], options["momentum"] or None
    adam = {"b1": options["beta1"], "b2": options["beta2"], "eps": options["epsilon"]}
    if name == "adam":
        rule = optax.adam(learning_rate, **adam)
    elif name == "adamw":
        rule = optax.adamw(learning_rate, weight_decay=options["weight_decay"], **adam)
    elif name == "rmsprop":
        rule = optax.rmsprop(learning_rate, decay=options["beta2"], eps=options["epsilon"], momentum=momentum)
    else:
        rule = optax.sgd(learning_rate, momentum=momentum)
    clip_norm = options["clip_norm"]
    clip = [optax.clip_by_global_norm(clip_norm)] if isinstance(clip_norm, jax.Array) or clip_norm else []
    chain = [*penalties.before(penalty or {}), *clip, rule, *penalties.after(penalty or {})]
    return optax.chain(*chain) if len(chain) > 1 else rule


def maker(
    config: Mapping[str, Any], plan: TrainingSchedule
) -> Callable[[Mapping[str, Array]], optax.GradientTransformation]:
    """What makes a configuration's optimizer from its `settings.TRACED_HPARAMS`, so that these may be arrays."""

    def make(numbers: Mapping[str, Array]) -> optax.GradientTransformation:
        options = {**config["optimizer"], **numbers}
        learning_rate = schedule(options, plan.total_steps, float(plan.steps_per_epoch))
        return build(options, learning_rate, config["penalty"])

    return make


def _halving(peak: float, after: float, every: float, steps_per_epoch: float) -> optax.Schedule:
    def learning_rate(step: Array) -> Array:
        late = (step / steps_per_epoch - after) / every
        # A little is added so that a whole number of epochs, divided with a rounding error, counts as one.
        return peak * 0.5 ** jnp.maximum(jnp.floor(late + 1e-4) + 1, 0)

    return learning_rate
