"""Results that can be drawn anew: a folder with the metrics of runs, the request, and what follows from both.

runs.tar.gz      the metrics of the runs
request.json     what is compared, and how it is drawn
baselines*.json  the errors of forecasts without a network, if there are any
compare.png, compare.md, table.csv, table.tex and baselines*.md follow from them by `write_result`, and with a margin
forest.png and margin.json
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from nlstm_jax.analysis import figure
from nlstm_jax.analysis.forecasts import forecast_table
from nlstm_jax.analysis.run_comparison import ComparisonReport, ComparisonRequest, run_comparison
from nlstm_jax.errors import DataError
from nlstm_jax.runs import Run, files, read_run, unpack_archive, write_archive
from nlstm_jax.runs.reader import ConfigTransform

ARCHIVE = "runs.tar.gz"
REQUEST = "request.json"
BASELINES = "baselines*.json"


def save_result(folder: Path, runs: list[Run], request: ComparisonRequest) -> list[str]:
    """Write the metrics of runs and a request into an existing folder, and return the names of the files.

    Raises:
        StorageError: A file cannot be written.
    """
    write_archive(folder / ARCHIVE, runs, request.look.metric)
    document = asdict(request)
    document["look"] = request.look._asdict()
    files.write_json(folder / REQUEST, document)
    return [ARCHIVE, REQUEST]


def save_baselines(path: Path, errors: Mapping[str, Mapping[str, float]], split: str, metric: str) -> None:
    """Write the errors of baselines, from which their table is written anew.

    Args:
        path: The file. Its name begins with `baselines` and ends with `.json`.
        errors: The metrics of each baseline, by its name.
        split: The split of the data.
        metric: The metric of the table.
    """
    files.write_json(path, {"split": split, "metric": metric, "errors": dict(errors)})


def find_results(folder: Path) -> list[Path]:
    """Return the results below a folder: the folders that have an archive."""
    return sorted(path.parent for path in folder.rglob(ARCHIVE))


def result_texts(folder: Path, with_defaults: ConfigTransform) -> dict[str, str]:
    """Return the pages and tables of a result by their file names, as today's code words them.

    Args:
        folder: The folder of the result.
        with_defaults: The function that is applied to every configuration, e.g. `settings.with_defaults`.

    Raises:
        DataError: The folder has no archive or request, or one of them is damaged.
        ConfigError: The runs do not have what the request names.
    """
    with TemporaryDirectory() as scratch:
        runs = _read_runs(folder, Path(scratch), with_defaults)
        return _texts(folder, runs, run_comparison(runs, _read_request(folder)))


def write_result(folder: Path, with_defaults: ConfigTransform) -> list[str]:
    """Draw the picture and write the pages and tables of a result anew, and return the names of the files.

    Args:
        folder: The folder of the result.
        with_defaults: The function that is applied to every configuration, e.g. `settings.with_defaults`.

    Raises:
        DataError: The folder has no archive or request, or one of them is damaged.
        ConfigError: The runs do not have what the request names.
        StorageError: A file cannot be written.
    """
    with TemporaryDirectory() as scratch:
        runs = _read_runs(folder, Path(scratch), with_defaults)
        report = run_comparison(runs, _read_request(folder))
        texts = _texts(folder, runs, report)
        pictures = report.pictures()
    for name, picture in pictures.items():
        figure.save(picture, folder / name)
    for name, text in texts.items():
        files.write_text_atomically(folder / name, text)
    return [*pictures, *texts]


def _texts(folder: Path, runs: list[Run], report: ComparisonReport) -> dict[str, str]:
    """Return the pages and tables of a comparison, and the tables of the baselines in its folder, by file name."""
    texts = report.tables()
    for path in sorted(folder.glob(BASELINES)):
        document = files.read_json(path)
        table = forecast_table(document["errors"], runs, document["split"], document["metric"])
        texts[path.with_suffix(".md").name] = table + "\n"
    return texts


def _read_runs(folder: Path, scratch: Path, with_defaults: ConfigTransform) -> list[Run]:
    """Unpack the archive of a result into an empty folder, and read its runs."""
    return [read_run(path, with_defaults) for path in unpack_archive(folder / ARCHIVE, scratch)]


def _read_request(folder: Path) -> ComparisonRequest:
    """Read the request of a result.

    Raises:
        DataError: There is none, or it has other fields than a request.
    """
    path = folder / REQUEST
    document = files.read_json(path)
    try:
        look = figure.PlotOptions(**document.pop("look"))
        return ComparisonRequest(
            look, contrast=_pair(document.pop("contrast")), planned=_pair(document.pop("planned")), **document
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: what `experiments.compare --archive` writes expected: {error}") from None


def _pair(labels: list[str] | None) -> tuple[str, str] | None:
    """Return two labels as they stand in a request."""
    if labels is None:
        return None
    first, second = labels
    return first, second
