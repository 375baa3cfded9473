"""Runs and the registry. The only file that imports mlflow.

One experiment a recipe, one parent run a product, one child run a stage; one registered model a recipe, whose alias
`champion` names the version that is served. Everything goes through `MlflowClient` with explicit run ids: the fluent
calls keep their current run in a thread-local, and a stage that logs from another thread would write into nothing.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import yaml

from components.errors import KyaraError, TrackingError
from components.runlog import SilentLog
from components.settings import quiet_environment, settings

CHAMPION = "champion"
OBJECTS = "kyara-objects"
"""The experiment whose folder in the artifact store holds what versions share. It has no runs."""
FLUSH_SECONDS = 3.0
# What log_batch accepts in one call (mlflow.utils.validation).
METRICS_A_BATCH, PARAMS_A_BATCH, PARAM_LENGTH = 1000, 100, 6000

logger = logging.getLogger("kyara")


@dataclass(frozen=True)
class ModelVersion:
    """One entry of the registry. `number` counts from "1"; `run_id` is the parent run that made it."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)


def data_digest(file: Path | None = None) -> str | None:
    """DVC's digest of the versioned inputs (outs[0].md5 of data.dvc, at most 36 characters); None without one."""
    file = file or settings().root / "data.dvc"
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        return str(found["outs"][0]["md5"])
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise TrackingError(
            f"{str(file)!r} holds no digest ({error!r}).", hint="Restore it with `git checkout data.dvc`."
        ) from error


def connect() -> Any:
    """The client of this process's tracking store; makes the SQLite store on first use (8 s once, then 2 s a process).

    Raises:
        TrackingError: the server does not answer.
    """
    return _connect(settings().tracking_uri)


@cache
def _connect(uri: str) -> Any:
    quiet_environment()
    # By default a server that is down blocks a run for minutes (7 retries, 120 s each).
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with _translated_errors(f"MLflow at {uri!r}"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.get_experiment("0")
        return client


@contextmanager
def _translated_errors(what: str) -> Iterator[None]:
    """Whatever MLflow raises, as TrackingError.

    It hands on the errors of its stores as they are: boto3, the clouds' clients and SQLAlchemy share no class.
    """
    try:
        yield
    except KyaraError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or repr(error)
        hint = "Is KYARA_MLFLOW_URI right, and is the server running (`kyara ui`)?"
        raise TrackingError(f"{what} cannot be used: {reason}", hint=hint) from error


def _experiment(name: str) -> str:
    from mlflow.exceptions import MlflowException

    client = connect()
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server places artifacts itself; a bare database would place them in the current folder.
    uri = settings().tracking_uri
    place = None if uri.startswith("http") else (settings().state / "mlflow" / "artifacts" / name).resolve().as_uri()
    # Else MLflow 3 opens an experiment on a page about language models, which is empty.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)  # another machine made it in this very moment


def experiments() -> dict[str, str]:
    """The id of every recipe's experiment by name, oldest first."""
    with _translated_errors("the list of experiments"):
        found = connect().search_experiments(order_by=["creation_time ASC"])
        names = {str(each.name): str(each.experiment_id) for each in found if each.experiment_id != "0"}
        return {name: number for name, number in names.items() if name != OBJECTS}


def newest_products(experiment_id: str, count: int) -> list[tuple[str, Mapping[str, str]]]:
    """Id and tags of the newest parent runs (one a product) of an experiment, newest first."""
    with _translated_errors(f"experiment {experiment_id!r}"):
        found = connect().search_runs(
            [experiment_id],
            "tags.`kyara.stage` = 'produce'",
            max_results=count,
            order_by=["attributes.start_time DESC"],
        )
        return [(str(run.info.run_id), dict(run.data.tags)) for run in found]


def share_view(experiment_id: str, key: str, state: Mapping[str, Any]) -> None:
    """Keep a state of MLflow's list of runs under `key`, as its own button "Share" does; a link may name it."""
    with _translated_errors(f"experiment {experiment_id!r}"):
        client, tag = connect(), f"mlflow.sharedViewState.{key}"
        value = json.dumps(state)
        if client.get_experiment(experiment_id).tags.get(tag) != value:
            client.set_experiment_tag(experiment_id, tag, value)


def start_run(experiment: str, name: str, tags: Mapping[str, str | None], *, parent: str | None = None) -> str:
    """Start a run and return its id; with `parent` it is a child of that run. Tags that are None are left out."""
    with _translated_errors(f"experiment {experiment!r}"):
        linked = {**tags, "mlflow.parentRunId": parent}
        kept = {key: str(value) for key, value in linked.items() if value is not None}
        return str(connect().create_run(_experiment(experiment), tags=kept, run_name=name).info.run_id)


def tag_run(run_id: str, tags: Mapping[str, str | None]) -> None:
    """Add or replace tags of a run."""
    with _translated_errors(f"run {run_id!r}"):
        for key, value in tags.items():
            if value is not None:
                connect().set_tag(run_id, key, str(value))


def log_input(run_id: str, name: str, digest: str, source: str) -> None:
    """State which version of a data set a run read."""
    from mlflow.entities import Dataset, DatasetInput

    with _translated_errors(f"run {run_id!r}"):
        data = Dataset(name=name, digest=digest[:36], source_type="dvc", source=source)
        connect().log_inputs(run_id, datasets=[DatasetInput(data, [])])


def end_run(run_id: str, status: str) -> None:
    """Close a run: FINISHED, FAILED (refused or broken) or KILLED (cancelled, or its machine died)."""
    with _translated_errors(f"run {run_id!r}"):
        connect().set_terminated(run_id, status)


def end_abandoned(run_id: str) -> None:
    """Close a run and its children as KILLED where they are still open: the process that wrote them is gone."""
    with _translated_errors(f"run {run_id!r}"):
        client = connect()
        run = client.get_run(run_id)
        children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
        for each in (run, *children):
            if each.info.status == "RUNNING":
                client.set_terminated(each.info.run_id, "KILLED")


@contextmanager
def closing(run_id: str) -> Iterator[str]:
    """End the run with the status that the block's end means: FINISHED, FAILED, or KILLED for an interrupt."""
    try:
        yield run_id
    except BaseException as error:
        _end_quietly(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    end_run(run_id, "FINISHED")


def _end_quietly(run_id: str, status: str) -> None:
    """A failing registry must not hide the error that is on its way."""
    try:
        end_run(run_id, status)
    except TrackingError as problem:
        logger.warning("%s", problem)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names: {"train": {"rank": 4}} -> {"train.rank": 4}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class MlflowLog(SilentLog):
    """A RunLog into one MLflow run. Curves are buffered: one call costs 22 ms on SQLite, a thousand in a batch 0.2 s.

    A store that fails while a stage computes never costs the computation: metrics stay in the buffer and are tried
    again. A context manager: leaving it flushes.
    """

    def __init__(self, run_id: str, flush_seconds: float = FLUSH_SECONDS) -> None:
        self.run_id = run_id
        self.flush_seconds = flush_seconds
        self._metrics: list[Any] = []
        self._tables: dict[str, dict[str, str]] = {}
        self._flushed = time.monotonic()

    def __enter__(self) -> "MlflowLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._metrics += [Metric(key, float(value), now, step or 0) for key, value in values.items()]
        if time.monotonic() - self._flushed >= self.flush_seconds:
            self.flush()

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        rows = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in flatten(values).items()]
        for start in range(0, len(rows), PARAMS_A_BATCH):
            part = rows[start : start + PARAMS_A_BATCH]
            self._try("params", lambda part=part: connect().log_batch(self.run_id, params=part))

    def file(self, path: Path, folder: str = "") -> None:
        self._try(path.name, lambda: connect().log_artifact(self.run_id, str(path), folder or None))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # As client.log_table writes it, which would go through pandas and read the file back for every call.
        if rows:
            file = name if name.endswith(".json") else f"{name}.json"
            content = {"columns": list(rows[0]), "data": [[row.get(key) for key in rows[0]] for row in rows]}
            self._tables[file] = {"path": file, "type": "table"}
            marks = json.dumps(list(self._tables.values()))
            self._try(name, lambda: connect().log_dict(self.run_id, content, file))
            self._try(name, lambda: connect().set_tag(self.run_id, "mlflow.loggedArtifacts", marks))

    def flush(self) -> None:
        """Send what is buffered."""
        self._flushed = time.monotonic()
        while self._metrics:
            part = self._metrics[:METRICS_A_BATCH]
            if not self._try("metrics", lambda part=part: connect().log_batch(self.run_id, metrics=part)):
                return
            del self._metrics[: len(part)]

    def _try(self, what: str, send: Any) -> bool:
        try:
            with _translated_errors(f"run {self.run_id!r}"):
                send()
        except TrackingError as error:
            logger.warning("%s not logged: %s", what, error)
            return False
        return True


def run_metrics(run_id: str) -> dict[str, float]:
    """The latest value of every metric of a run."""
    with _translated_errors(f"run {run_id!r}"):
        return dict(connect().get_run(run_id).data.metrics)


def read_artifact(run_id: str, name: str) -> bytes:
    """A file of a run."""
    with _translated_errors(f"file {name!r} of run {run_id!r}"), tempfile.TemporaryDirectory() as folder:
        return Path(connect().download_artifacts(run_id, name, folder)).read_bytes()


def log_folder(run_id: str, folder: Path, place: str) -> None:
    """Keep a folder's files with a run, under `place`."""
    with _translated_errors(f"run {run_id!r}"):
        connect().log_artifacts(run_id, str(folder), place)


def log_file(run_id: str, file: Path, place: str) -> None:
    """Keep a file with a run, under `place`."""
    with _translated_errors(f"run {run_id!r}"):
        connect().log_artifact(run_id, str(file), place)


@dataclass(frozen=True)
class ArtifactFolder:
    """A folder of the artifact store by its address: a local one, on S3, or behind the tracking server.

    Every method raises TrackingError where the store fails.
    """

    uri: str

    @property
    def local(self) -> Path | None:
        """Where it lies on this machine; None for one that is elsewhere."""
        parsed = urlparse(self.uri)
        return Path(url2pathname(parsed.path)) if parsed.scheme == "file" else None

    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self.uri, tracking_uri=settings().tracking_uri)

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Bytes of the files right below a folder of it, by name; none where there is no such folder."""
        with _translated_errors(f"the artifact store {self.uri!r}"):
            found = self._repository().list_artifacts(folder)
            return {str(each.path).rpartition("/")[2]: int(each.file_size or 0) for each in found if not each.is_dir}

    def put(self, file: Path, folder: str) -> None:
        """Keep a file under its own name in a folder of it."""
        with _translated_errors(f"the artifact store {self.uri!r}"):
            self._repository().log_artifact(str(file), folder)

    def get(self, name: str, target: Path) -> None:
        """A file of it as `target`, which is overwritten. What arrives is for the caller to verify."""
        what = f"file {name!r} of {self.uri!r}"
        with _translated_errors(what), tempfile.TemporaryDirectory(dir=target.parent) as folder:
            Path(self._repository().download_artifacts(name, folder)).replace(target)


def run_files(run_id: str) -> ArtifactFolder:
    """What a run keeps."""
    with _translated_errors(f"run {run_id!r}"):
        return ArtifactFolder(str(connect().get_run(run_id).info.artifact_uri))


def shared_files() -> ArtifactFolder:
    """Where versions keep what they share; one place for all recipes of a tracking server."""
    with _translated_errors(f"experiment {OBJECTS!r}"):
        return ArtifactFolder(str(connect().get_experiment(_experiment(OBJECTS)).artifact_location))


def register(name: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """A new version of the registered model `name`, made by `run_id` (its files: the run's folder `model`)."""
    from mlflow.exceptions import MlflowException

    with _translated_errors(f"registered model {name!r}"):
        client = connect()
        try:
            client.get_registered_model(name)
        except MlflowException:
            client.create_registered_model(name)
        made = client.create_model_version(name, source=f"runs:/{run_id}/model", run_id=run_id, tags=dict(tags))
        return _version(made)


def tag_version(version: ModelVersion, tags: Mapping[str, str]) -> ModelVersion:
    """The version with tags added or replaced."""
    with _translated_errors(f"version {version.number} of {version.name!r}"):
        for key, value in tags.items():
            connect().set_model_version_tag(version.name, version.number, key, value)
    return ModelVersion(version.name, version.number, version.run_id, {**version.tags, **tags})


def versions(name: str) -> tuple[ModelVersion, ...]:
    """All versions of a registered model, oldest first; none for a name that was never registered."""
    with _translated_errors(f"registered model {name!r}"):
        found = connect().search_model_versions(f"name = '{name}'", max_results=10_000)
        return tuple(sorted((_version(each) for each in found), key=lambda version: int(version.number)))


def champion(name: str) -> ModelVersion | None:
    """The version that the alias `champion` names."""
    return version_by_alias(name, CHAMPION)


def version_by_alias(name: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that an alias names; None without such a model or alias."""
    from mlflow.exceptions import MlflowException

    with _translated_errors(f"registered model {name!r}"):
        client = connect()
        try:
            return _version(client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def crown(version: ModelVersion) -> None:
    """Point the alias `champion` at a version."""
    with _translated_errors(f"version {version.number} of {version.name!r}"):
        connect().set_registered_model_alias(version.name, CHAMPION, version.number)


def serve_arguments(port: int) -> list[str]:
    """Arguments of `python -m` that serve MLflow's own pages on loopback, in two processes (see settings.QUIET).

    By default MLflow also answers under the addresses of private networks. Pages of loopback may always ask it.
    """
    here = settings()
    place = (here.state / "mlflow" / "artifacts").resolve().as_uri()
    names = ("127.0.0.1", "localhost", *here.allowed_hosts)
    hosts = [pattern for name in names for pattern in (name, f"{name}:*")]
    origins = [f"http://127.0.0.1:{port}", f"http://localhost:{port}", *here.allowed_origins]
    trusted = ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]
    store = ["--backend-store-uri", here.tracking_uri, "--default-artifact-root", place, "--no-serve-artifacts"]
    return ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *trusted, *store]


def _version(raw: Any) -> ModelVersion:
    return ModelVersion(str(raw.name), str(raw.version), str(raw.run_id), dict(raw.tags))
