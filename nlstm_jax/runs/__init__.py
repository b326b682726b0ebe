"""The run folder: configuration, environment, metrics, summary and lock.

Only this package knows the layout of a run folder.

    config.json        the resolved configuration, as it was when the run was made
    environment.json   command line, versions, git commit and uncommitted diff, devices, data checksums, the question,
                       and the direction and unit of each metric
    metrics.jsonl      one JSON object a line, appended at every evaluation
    summary.json       the outcome of the run, written last
    checkpoints/       checkpoints, written by orbax
    examples_*.npz     the sum and the weight of every example of a split, for each metric, if requested
    notes.json         a note and tags, if there are any
    log.txt            the console output
    lock               held by the process that writes

>>> import tempfile
>>> import numpy as np
>>> from pathlib import Path
>>> root = Path(tempfile.mkdtemp())
>>> check_metric_writers([])
>>> make_folder(root / "runs", "workdir")
>>> folder = root / "runs" / "lstm"
>>> with RunFolder(folder, {"task": "poems", "seeds": {"init": 0}}) as run_folder:
...     run_folder.write_environment(describe_environment(["cpu"], data={}))
...     run_folder.append_metrics([{"step": 10, "split": "valid", "log_loss": 2.5}])
...     run_folder.write_summary({"status": "finished", "steps": 10, "valid": {"log_loss": 2.5}})
...     is_locked(folder)
True
>>> run = read_run(folder)
>>> isinstance(run, Run), is_locked(folder)
(True, False)
>>> flatten(run.config), run.metrics[0]["log_loss"]
({'task': 'poems', 'seeds.init': 0}, 2.5)
>>> read_environment(folder)["devices"]
{'kind': 'cpu', 'count': 1, 'processes': 1}

The test split can be looked at once the run has ended. Every look is counted:

>>> check_test_look(run)["status"], record_test_look(folder, {"log_loss": 2.6}, step=10)
('finished', 1)

Notes, the contribution of every example, and an archive of several runs:

>>> write_notes(folder, text="a first try", tags=["paper"])
Notes(text='a first try', tags=('paper',))
>>> write_examples(folder, "valid", step=10, means={"log_loss": (np.array([2.0, 3.0]), np.array([1.0, 1.0]))}).name
'examples_valid.npz'
>>> read_examples(folder, "valid", "log_loss").sums.tolist(), examples_path(folder, "valid").name
([2.0, 3.0], 'examples_valid.npz')
>>> runs, skipped = find_runs([f"{root}/runs/*"])
>>> write_archive(root / "runs.tar.gz", runs, "log_loss")
>>> [read_notes(path).tags for path in unpack_archive(root / "runs.tar.gz", root / "copy")], skipped
([('paper',)], [])
"""

from nlstm_jax.runs.archive import unpack_archive, write_archive
from nlstm_jax.runs.configuration import differences, flatten
from nlstm_jax.runs.environment import describe_environment
from nlstm_jax.runs.examples import examples_path, read_examples, write_examples
from nlstm_jax.runs.files import make_folder
from nlstm_jax.runs.folder import RunFolder
from nlstm_jax.runs.lock import is_locked
from nlstm_jax.runs.metric_writers import check_metric_writers
from nlstm_jax.runs.notes import read_notes, write_notes
from nlstm_jax.runs.reader import Run, is_number, read_environment, read_run
from nlstm_jax.runs.search import find_runs
from nlstm_jax.runs.split_access import check_test_look, record_test_look

__all__ = [
    "Run",
    "RunFolder",
    "check_metric_writers",
    "check_test_look",
    "describe_environment",
    "differences",
    "examples_path",
    "find_runs",
    "flatten",
    "is_locked",
    "is_number",
    "make_folder",
    "read_environment",
    "read_examples",
    "read_notes",
    "read_run",
    "record_test_look",
    "unpack_archive",
    "write_archive",
    "write_examples",
    "write_notes",
]
