"""Training: from a configuration to a trained run folder, and back to a model.

The example trains for a few seconds, so a slow test runs it:

>>> import tempfile  # doctest: +SKIP
>>> from pathlib import Path  # doctest: +SKIP
>>> from rich.console import Console  # doctest: +SKIP
>>> from nlstm_jax import settings  # doctest: +SKIP
>>> config = settings.defaults("classify", "lstm")  # doctest: +SKIP
>>> config.cell.features = 4  # doctest: +SKIP
>>> config.train.steps = 50  # doctest: +SKIP
>>> folder = Path(tempfile.mkdtemp())  # doctest: +SKIP
>>> quiet = Console(quiet=True)  # doctest: +SKIP
>>> summary = fit(config, folder / "lstm", console=quiet)  # doctest: +SKIP
>>> summary["status"], summary["steps"]  # doctest: +SKIP
('finished', 50)
>>> run: LoadedRun = load_run(folder / "lstm")  # doctest: +SKIP
>>> run.predict(["0 1 2 2 3"]).shape  # doctest: +SKIP
(1, 4)
>>> other = config.copy_and_resolve_references()  # doctest: +SKIP
>>> other.seeds.init = 1  # doctest: +SKIP
>>> summaries = fit_together([config, other], [folder / "0", folder / "1"], console=quiet)  # doctest: +SKIP
>>> load_runs(f"{folder}/*")["cell_parameters"].tolist()  # doctest: +SKIP
[144, 144, 144]
"""

from nlstm_jax.training.fit import fit, fit_together
from nlstm_jax.training.restore import LoadedRun, load_run, load_runs

__all__ = ["LoadedRun", "fit", "fit_together", "load_run", "load_runs"]
