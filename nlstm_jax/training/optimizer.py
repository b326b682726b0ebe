"""The optimizer of a run and its learning rate, built with optax."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import jax
import jax.numpy as jnp
import optax

from nlstm_jax import settings
from nlstm_jax.training import penalties
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.types import Array, Config

TracedHparams: TypeAlias = Mapping[str, Array]
"""The numbers in which runs of one compiled program may differ, by name: `dropout_seed` and optimizer settings."""


def traced_hparams(config: Config) -> dict[str, Array]:
    """Return the numbers of a configuration that a compiled program takes as arrays.

    Runs that differ in nothing else share one compiled program.
    """
    options = config["optimizer"]
    hparams = {name: jnp.asarray(options[name], float) for name in settings.TRACED_HPARAMS}
    if not options["clip_norm"]:
        del hparams["clip_norm"]
    return {"dropout_seed": jnp.int32(config["seeds"]["dropout"]), **hparams}


@dataclass(frozen=True)
class OptimizerFactory:
    """A maker of a run's optimizer; the only place where one is built from a configuration.

    Attributes:
        options: The section `optimizer` of the configuration.
        penalty: The section `penalty`.
        total_steps: The length of the run, which some learning-rate schedules depend on.
        steps_per_epoch: The number of steps in one pass over the training examples.
    """

    options: Config
    penalty: Config
    total_steps: int
    steps_per_epoch: float

    @classmethod
    def from_config(cls, config: Config, schedule: TrainingSchedule) -> Self:
        """Make the factory of a configuration."""
        return cls(config["optimizer"], config["penalty"], schedule.total_steps, float(schedule.steps_per_epoch))

    def __call__(self, hparams: TracedHparams) -> optax.GradientTransformation:
        """Build the optimizer.

        Args:
            hparams: Values that replace those of the options; they may be traced arrays.
        """
        options = {**self.options, **hparams}
        learning_rate = learning_rate_schedule(options, self.total_steps, self.steps_per_epoch)
        return build(options, learning_rate, self.penalty)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        schedule = learning_rate_schedule(self.options, self.total_steps, self.steps_per_epoch)
        return float(schedule(step))


def learning_rate_schedule(options: Config, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    `constant` keeps `learning_rate`. `cosine` falls to `final_fraction` of it at `total_steps`. `halving` keeps it for
    `halve_after_epochs`, then halves it at once and again every `halve_every_epochs` (Zaremba et al. 2014). Each of
    them follows `warmup_steps` linear steps from 0.

    >>> halving = {"schedule": "halving", "learning_rate": 1.0, "warmup_steps": 0, "halve_after_epochs": 4.0,
    ...            "halve_every_epochs": 1.0, "final_fraction": 0.0}
    >>> learning_rate = learning_rate_schedule(halving, 1000, steps_per_epoch=10)
    >>> [float(learning_rate(step)) for step in (0, 39, 40, 49, 50)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    peak = options["learning_rate"]
    warmup_steps = options["warmup_steps"]
    if options["schedule"] == "cosine":
        decay_steps = max(total_steps - warmup_steps, 1)
        main_schedule = optax.cosine_decay_schedule(peak, decay_steps, alpha=options["final_fraction"])
    elif options["schedule"] == "halving":
        main_schedule = _halving_schedule(
            peak, options["halve_after_epochs"], options["halve_every_epochs"], steps_per_epoch
        )
    else:
        main_schedule = optax.constant_schedule(peak)
    if not warmup_steps:
        return main_schedule
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([warmup, main_schedule], [warmup_steps])


def build(
    options: Config, learning_rate: optax.Schedule, penalty: Config | None = None
) -> optax.GradientTransformation:
    """Chain penalties, clipping by the global norm, the optimizer's rule, and constraints.

    Args:
        options: The section `optimizer`; values named in `settings.TRACED_HPARAMS` may be arrays.
        learning_rate: The learning rate by step.
        penalty: The section `penalty`.
    """
    momentum = options["momentum"] or None
    adam_options = {"b1": options["beta1"], "b2": options["beta2"], "eps": options["epsilon"]}
    if options["name"] == "adam":
        rule = optax.adam(learning_rate, **adam_options)
    elif options["name"] == "keras_adam":
        rule = optax.chain(scale_by_keras_adam(**adam_options), optax.scale_by_learning_rate(learning_rate))
    elif options["name"] == "adamw":
        rule = optax.adamw(learning_rate, weight_decay=options["weight_decay"], **adam_options)
    elif options["name"] == "rmsprop":
        rule = optax.rmsprop(learning_rate, decay=options["beta2"], eps=options["epsilon"], momentum=momentum)
    else:
        rule = optax.sgd(learning_rate, momentum=momentum)

    clip_norm = options["clip_norm"]
    clipping = []
    if isinstance(clip_norm, jax.Array) or clip_norm:
        clipping.append(optax.clip_by_global_norm(clip_norm))

    chain = [*penalties.before(penalty or {}), *clipping, rule, *penalties.after(penalty or {})]
    if len(chain) == 1:
        return rule
    return optax.chain(*chain)


def scale_by_keras_adam(b1: float, b2: float, eps: float | Array) -> optax.GradientTransformation:
    """Return Adam's direction as Keras computes it, to be scaled by the learning rate.

    The paper divides by √(v / (1 − β₂ᵗ)) + ε. Keras divides m √(1 − β₂ᵗ) / (1 − β₁ᵗ) by √v + ε, which is the same rule
    with ε / √(1 − β₂ᵗ) in the place of ε. In the first steps ε is therefore larger, 32 times with β₂ = 0.999.

    Args:
        b1: The decay β₁ of the mean of the gradients.
        b2: The decay β₂ of the mean of their squares.
        eps: The number ε. Keras' default is 1e-7.
    """

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        steps = state.count + 1
        adam = optax.scale_by_adam(b1, b2, eps / jnp.sqrt(1 - b2**steps))
        return adam.update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)


def _halving_schedule(peak: float, after: float, every: float, steps_per_epoch: float) -> optax.Schedule:
    def learning_rate(step: Array) -> Array:
        periods = (step / steps_per_epoch - after) / every
        # A little is added so that a whole number of epochs, divided with a rounding error, counts as one.
        halvings = jnp.maximum(jnp.floor(periods + 1e-4) + 1, 0)
        return peak * 0.5**halvings

    return learning_rate
