"""The queue's reaction to every way in which a process can end, with an engine whose processes follow a script."""

import json
from collections import deque
from pathlib import Path

import pytest

from nlstm_jax.errors import ConfigError, StorageError
from nlstm_jax.sweeps import queue as queues
from nlstm_jax.sweeps import table
from nlstm_jax.sweeps.folder import SweepFolder, contrast_of
from nlstm_jax.sweeps.queue import Queue
from nlstm_jax.sweeps.sources import FixedTrials
from nlstm_jax.sweeps.space import TrialCollector

CONFIG = str(Path(__file__).parents[2] / "configs" / "poems.py")


class ScriptedEngine:
    """An engine whose processes end at their second poll, with the exit codes that are listed for their job.

    The last exit code is repeated.
    """

    def __init__(self, codes: dict[str, list[int]], capacity: int = 1) -> None:
        self.codes = {name: deque(job_codes) for name, job_codes in codes.items()}
        self.capacity = capacity
        self.started = []
        self.stopped = []
        self.running_count = 0
        self.most_running = 0

    def start(self, jobs):
        return [self._start(job) for job in jobs]

    def _start(self, job):
        self.started.append(job.name)
        self.running_count += 1
        self.most_running = max(self.most_running, self.running_count)
        codes = self.codes[job.name]
        code = codes.popleft() if len(codes) > 1 else codes[0]
        file = next(part for part in job.command if part.startswith("--job=")).removeprefix("--job=")
        runs = json.loads(Path(file).read_text())["runs"]
        return ScriptedProcess(self, job, code, [run["workdir"] for run in runs])


class ScriptedProcess:
    """A process that ends at its second poll; with exit code 0, 4 or 7 it leaves runs that have ended."""

    def __init__(self, engine, job, code, folders) -> None:
        self.engine = engine
        self.job = job
        self.code = code
        self.folders = folders
        self.polls = 0
        self.stopped = False

    def poll(self):
        self.polls += 1
        if self.polls < 2 and not self.stopped:
            return None
        self.engine.running_count -= 1
        self.job.log.write_text(f"line one\n\nended with {self.code}\n")
        status = {0: "finished", 4: "diverged", 7: "finished"}.get(self.code)
        if status and not self.stopped:
            for folder in map(Path, self.folders):
                self.write_run(folder, status)
        return 75 if self.stopped else self.code

    def write_run(self, folder: Path, status: str) -> None:
        write_run(folder, status)

    def stop(self) -> None:
        assert not self.stopped, "asked twice, a run ends without a checkpoint"
        self.stopped = True
        self.engine.stopped.append(self.job.name)


def write_run(folder: Path, status: str) -> None:
    """Write the run folder of a run with one evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"schema": 1, "eval": {"metric": "log_loss"}, "train": {"steps": 8, "epochs": 1.0}}
    (folder / "config.json").write_text(json.dumps(config))
    line = {"step": 4, "epoch": 0.5, "split": "valid", "log_loss": 2.5, "wall_seconds": 3.0}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "summary.json").write_text(json.dumps({"schema": 1, "status": status}))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(queues, "_POLL_INTERVAL", 0.0)
    monkeypatch.setattr(queues, "_IN_USE_PAUSE", 0.0)
    monkeypatch.setattr(queues, "_READ_INTERVAL", 0.0)


def sweep(tmp_path, codes, *, retries=1, capacity=1, interrupted=lambda: False, groups=None, engine=None):
    """Run a queue with one trial per key of `codes`.

    Returns:
        The queue's entries by name, the engine, and the result of `Queue.run`.
    """
    collector = TrialCollector("here")
    for name in codes:
        collector.add(CONFIG, name=name)
    trials = {trial.name: trial for trial in collector.trials}
    engine = engine or ScriptedEngine(codes, capacity)
    shown = []
    planned = FixedTrials([[trials[name] for name in group] for group in groups or [[name] for name in codes]])
    folder = SweepFolder(tmp_path / "sweep")
    folder.check(collector.trials)
    with folder.open(collector.trials):
        queue = Queue(folder, planned, engine, retries=retries, show=lambda entries: shown.append(list(entries)))
        done = queue.run(interrupted)
    assert shown
    return {entry.trial.name: entry for entry in queue.entries}, engine, done


def test_every_trial_is_run_once_in_order_and_never_more_at_once_than_there_are_places(tmp_path) -> None:
    entries, engine, done = sweep(tmp_path, {name: [0] for name in "abcde"}, capacity=2)
    assert done
    assert engine.started == list("abcde")
    assert engine.most_running == 2
    assert {entry.state for entry in entries.values()} == {"finished"}
    assert entries["a"].progress.best == 2.5


def test_a_trial_without_hope_is_asked_to_stop_once_and_one_that_has_ended_is_left_to_close(tmp_path) -> None:
    class Hopeless(FixedTrials):
        def should_prune(self, trial, progress) -> bool:
            return trial.name == "bad"

    collector = TrialCollector("here")
    for name in ("bad", "good"):
        collector.add(CONFIG, name=name)
    engine = SlowEngine({"bad": [0], "good": [0]}, capacity=2)
    with SweepFolder(tmp_path / "sweep").open(collector.trials) as folder:
        queue = Queue(
            folder, Hopeless([[trial] for trial in collector.trials]), engine, retries=0, show=lambda entries: None
        )
        assert queue.run(lambda: False)
    assert [entry.state for entry in queue.entries] == ["pruned", "finished"]
    assert engine.stopped == ["bad"]


def test_a_trial_that_stops_for_lack_of_hope_is_not_asked_again_by_an_interruption(tmp_path) -> None:
    class Hopeless(FixedTrials):
        def should_prune(self, trial, progress) -> bool:
            return True

    collector = TrialCollector("here")
    collector.add(CONFIG, name="bad")
    engine = SlowEngine({"bad": [0]})
    with SweepFolder(tmp_path / "sweep").open(collector.trials) as folder:
        queue = Queue(folder, Hopeless([collector.trials]), engine, retries=0, show=lambda entries: None)
        assert not queue.run(lambda: bool(engine.stopped))
    assert engine.stopped == ["bad"]


class SlowEngine(ScriptedEngine):
    """An engine whose processes run on after they have written their run, which has ended for the good trial only."""

    def _start(self, job):
        process = super()._start(job)
        write_run(Path(process.folders[0]), {"good": "finished", "bad": "interrupted"}[job.name])
        poll = process.poll

        def slow():
            process.polls += 1
            return None if process.polls < 6 else poll()

        process.poll = slow
        return process


def test_ended_trials_are_skipped_by_the_next_call(tmp_path) -> None:
    sweep(tmp_path, {"a": [0], "b": [4]})
    entries, engine, done = sweep(tmp_path, {"a": [0], "b": [0], "c": [0]})
    assert engine.started == ["c"]
    assert [entry.state for entry in entries.values()] == ["finished", "diverged", "finished"]
    assert done


@pytest.mark.parametrize(
    ("codes", "retries", "state", "starts"),
    [
        ([1, 0], 1, "finished", 2),
        ([-9, 0], 1, "finished", 2),
        ([1, 1, 0], 1, "failed", 2),
        ([1, 0], 0, "failed", 1),
        ([2, 0], 5, "failed", 1),
        ([3, 0], 5, "failed", 1),
        ([4], 1, "diverged", 1),
        ([6, 6, 6, 0], 0, "finished", 4),
        ([75, 75, 0], 0, "finished", 3),
        ([7], 0, "finished", 1),
    ],
)
def test_what_may_help_is_tried_again_and_what_cannot_is_not(tmp_path, codes, retries, state, starts) -> None:
    """Crashes count as failures; a folder in use and an interruption by others do not; mistakes would come again."""
    entries, engine, done = sweep(tmp_path, {"a": codes, "b": [0]}, retries=retries)
    assert (entries["a"].state, engine.started.count("a")) == (state, starts)
    assert entries["b"].state == "finished"
    assert done
    assert entries["a"].said == (f"line one\nended with {codes[starts - 1]}" if state == "failed" else "")


def test_an_interruption_stops_all_and_the_next_call_goes_on(tmp_path) -> None:
    wishes = iter([False, False, False, True])
    entries, engine, done = sweep(tmp_path, {name: [0] for name in "abcd"}, interrupted=lambda: next(wishes, True))
    assert not done
    assert [entry.state for entry in entries.values()] == ["finished", "waiting", "waiting", "waiting"]
    entries, engine, done = sweep(tmp_path, {name: [0] for name in "abcd"})
    assert done
    assert engine.started == ["b", "c", "d"]


DAMAGED = {
    "summary.json": "half of",
    "metrics.jsonl": "[1]\n",
    "config.json": '{"schema": 1}',
    "environment.json": '{"schema": 1, "metrics": {"log_loss": []}}',
}


@pytest.mark.parametrize("file", DAMAGED)
def test_one_damaged_run_folder_is_one_failed_trial(tmp_path, file) -> None:
    folder = tmp_path / "sweep" / "trials" / "b"
    write_run(folder, "finished")
    (folder / file).write_text(DAMAGED[file], "utf-8")
    (tmp_path / "sweep" / "sweep.json").write_text('{"schema": 1, "trials": {}}')
    entries, engine, done = sweep(tmp_path, {"a": [0], "b": [0], "c": [0]})
    assert done
    assert engine.started == ["a", "c"]
    assert [entry.state for entry in entries.values()] == ["finished", "failed", "finished"]
    assert table.describe_failure(entries["b"], tmp_path).startswith(f"b: its run folder is damaged: {folder}")


def test_a_run_folder_that_is_damaged_by_its_process_is_a_failed_trial(tmp_path, monkeypatch) -> None:
    def write_damaged_run(process, folder: Path, status: str) -> None:
        write_run(folder, status)
        if folder.name == "b":
            (folder / "summary.json").write_text("half of")

    monkeypatch.setattr(ScriptedProcess, "write_run", write_damaged_run)
    entries, engine, done = sweep(tmp_path, {"a": [0], "b": [0], "c": [0]})
    assert done
    assert engine.started == ["a", "b", "c"]
    assert [entry.state for entry in entries.values()] == ["finished", "failed", "finished"]


def test_an_engine_that_refuses_a_job_stops_the_jobs_that_run(tmp_path) -> None:
    class Refusing(ScriptedEngine):
        def _start(self, job):
            if job.name == "c":
                raise ConfigError("no room for job c")
            process = super()._start(job)
            if job.name == "b":
                # This one runs until it is stopped.
                process.polls = -1_000_000
            return process

    engine = Refusing({"a": [0], "b": [0], "c": [0]}, capacity=2)
    with pytest.raises(ConfigError, match=r"^no room for job c; the processes of the sweep were stopped: 1$"):
        sweep(tmp_path, engine.codes, engine=engine)
    assert engine.started == ["a", "b"]
    assert engine.stopped == ["b"]
    assert engine.running_count == 0


def test_a_source_that_takes_no_results_any_more_stops_the_jobs_that_run(tmp_path, monkeypatch) -> None:
    def refuse(*arguments) -> None:
        raise StorageError("no database")

    class LongB(ScriptedEngine):
        def _start(self, job):
            process = super()._start(job)
            if job.name == "b":
                process.polls = -1_000_000
            return process

    stop = ScriptedProcess.stop

    def stop_at_its_end(process) -> None:
        stop(process)
        write_run(Path(process.folders[0]), "finished")

    monkeypatch.setattr(FixedTrials, "report_result", refuse)
    monkeypatch.setattr(ScriptedProcess, "stop", stop_at_its_end)
    engine = LongB({"a": [0], "b": [0]}, capacity=2)
    with pytest.raises(StorageError, match=r"^no database; the processes of the sweep were stopped: 1$"):
        sweep(tmp_path, engine.codes, engine=engine)
    assert engine.stopped == ["b"]
    assert engine.running_count == 0


def test_trials_in_one_process_are_settled_each_by_its_folder(tmp_path) -> None:
    write_run(tmp_path / "sweep" / "trials" / "b", "diverged")
    (tmp_path / "sweep" / "sweep.json").write_text('{"schema": 1, "trials": {}}')
    entries, engine, _ = sweep(tmp_path, {"a": [1, 0], "b": [0], "c": [0]}, groups=[["a", "b"], ["c"]])
    assert engine.started == ["a", "a", "c"] or engine.started == ["a", "c", "a"]
    assert [entry.state for entry in entries.values()] == ["finished", "diverged", "finished"]


def test_a_folder_of_something_else_and_a_changed_trial_are_refused(tmp_path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"a new, empty or sweep folder expected, found thesis\.tex"):
        sweep(tmp_path, {"a": [0]})
    (folder / "thesis.tex").unlink()
    sweep(tmp_path, {"a": [0]})
    collector = TrialCollector("here")
    collector.add(CONFIG, name="a", seed=1)
    with pytest.raises(ConfigError, match=r"a trial a of another configuration \(seeds\.\w+: 0 there, 1 here"):
        SweepFolder(folder).check(collector.trials)


def test_a_run_folder_at_the_root_of_a_file_system_is_no_trial() -> None:
    assert contrast_of([Path("/run-of-no-sweep")]) is None
