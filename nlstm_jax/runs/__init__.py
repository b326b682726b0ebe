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
from nlstm_jax.runs.reader import Run, read_environment, read_run
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
