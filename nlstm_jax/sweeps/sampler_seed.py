"""Seeding of a sampler of Optuna before every proposal, so that an interrupted search proposes what it would have.

Optuna stores the trials of a study, but not the state of the sampler's random generators.
"""

from typing import Any, TypeAlias

import numpy as np

OptunaSampler: TypeAlias = Any
"""An `optuna.samplers.BaseSampler`; Optuna is optional, so its types are not imported."""

_SAMPLER_MODULES = "optuna.samplers"
_SEED_BOUND = 2**31


class SamplerSeed:
    """The seed of a sampler's random generators, as a function of the number of trials that a study has."""

    def __init__(self, sampler: OptunaSampler, seed: int) -> None:
        """Find the random generators of the sampler.

        Args:
            sampler: The sampler, newly made, so that the state of its generators depends on its own seed only.
            seed: The seed of the search. Sweeps that share a study need different ones.
        """
        self._random_states = _find_random_states(sampler)
        own_seeds = [int(random_state.randint(_SEED_BOUND)) for random_state in self._random_states]
        self._entropy = [seed, *own_seeds]

    def apply(self, trial_count: int) -> None:
        """Seed the generators for the next proposal.

        Args:
            trial_count: The number of trials that the study has.
        """
        sequence = np.random.SeedSequence([*self._entropy, trial_count])
        words = sequence.generate_state(max(len(self._random_states), 1))
        for random_state, word in zip(self._random_states, words, strict=False):
            random_state.seed(int(word))


def _find_random_states(sampler: OptunaSampler) -> list[np.random.RandomState]:
    """Return the random generators of a sampler and of the samplers and strategies that it contains, each once."""
    random_states: list[np.random.RandomState] = []
    visited: set[int] = set()
    pending = [sampler]
    while pending:
        part = pending.pop()
        if id(part) in visited:
            continue
        visited.add(id(part))
        # Optuna wraps a generator in an object that makes it on first use, as the attribute `rng`.
        random_state = getattr(part, "rng", part)
        if isinstance(random_state, np.random.RandomState):
            random_states.append(random_state)
        elif part is sampler or type(part).__module__.startswith(_SAMPLER_MODULES):
            pending += getattr(part, "__dict__", {}).values()
    return random_states
