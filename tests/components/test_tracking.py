import json
import time
from pathlib import Path

import pytest

from components import tracking
from components.errors import TrackingError
from components.settings import settings
from components.tracking import MlflowLog

# One store for the module: a new one takes seconds.
pytestmark = pytest.mark.usefixtures("session_home")


@pytest.fixture
def run() -> str:
    return tracking.start_run("tracking", "run", {"kyara.stage": "train", "nothing": None})


def read(run: str):
    return tracking.connect().get_run(run)


def test_a_child_run_names_its_parent_and_none_tags_are_left_out(run: str) -> None:
    child = tracking.start_run("tracking", "child", {"kyara.stage": "train"}, parent=run)
    assert read(child).data.tags["mlflow.parentRunId"] == run
    assert "nothing" not in read(run).data.tags


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_closing_tells_how_the_block_ended(run: str, error: BaseException | None, status: str) -> None:
    try:
        with tracking.closing(run):
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    assert read(run).info.status == status


def test_abandoned_runs_are_killed_with_their_open_children_only(run: str) -> None:
    done, still_open = (tracking.start_run("tracking", name, {}, parent=run) for name in ("done", "open"))
    tracking.end_run(done, "FINISHED")
    tracking.end_abandoned(run)
    assert [read(each).info.status for each in (run, done, still_open)] == ["KILLED", "FINISHED", "KILLED"]


def test_metrics_wait_in_the_buffer_and_arrive_with_their_steps(run: str) -> None:
    with MlflowLog(run, flush_seconds=60) as log:
        for step in range(1500):
            log.metrics({"loss": 1 / (step + 1)}, step=step)
        assert read(run).data.metrics == {}
    history = tracking.connect().get_metric_history(run, "loss")
    assert sorted(entry.step for entry in history) == list(range(1500))
    assert tracking.run_metrics(run)["loss"] == pytest.approx(1 / 1500)


def test_metrics_are_flushed_every_few_seconds(run: str) -> None:
    log = MlflowLog(run, flush_seconds=0.05)
    log.metrics({"loss": 2.0}, step=0)
    time.sleep(0.1)
    log.metrics({"loss": 1.0}, step=1)
    assert tracking.run_metrics(run)["loss"] == 1.0


def test_params_are_flat_and_more_than_one_batch(run: str) -> None:
    MlflowLog(run).params(
        {"train": {"rank": 4, "deep": {"er": True}}, **{f"p{number}": number for number in range(150)}}
    )
    params = read(run).data.params
    assert params["train.rank"] == "4" and params["train.deep.er"] == "True" and len(params) == 152


def test_files_and_tables_are_kept_with_the_run(run: str, tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"a": 1}', encoding="utf-8")
    log = MlflowLog(run)
    log.file(tmp_path / "note.json", "notes")
    log.table("rows", [{"name": "x", "values": [1, 2]}, {"name": "y", "values": [3]}])
    log.table("empty", [])
    assert json.loads(tracking.read_artifact(run, "notes/note.json")) == {"a": 1}
    table = json.loads(tracking.read_artifact(run, "rows.json"))
    assert table == {"columns": ["name", "values"], "data": [["x", [1, 2]], ["y", [3]]]}


def test_artifacts_lie_under_the_home_and_not_in_the_current_folder(run: str) -> None:
    assert read(run).info.artifact_uri.startswith((settings().state / "mlflow" / "artifacts" / "tracking").as_uri())


def test_a_store_that_fails_costs_no_computation(run: str, caplog: pytest.LogCaptureFixture) -> None:
    log = MlflowLog("0" * 32, flush_seconds=60)
    log.metrics({"loss": 1.0}, step=0)
    log.flush()
    assert "metrics not logged" in caplog.text
    log.run_id = run
    log.flush()
    assert tracking.run_metrics(run) == {"loss": 1.0}


@pytest.mark.parametrize("store", ["s3://nobody-has-this/x", "hdfs://nowhere/x"])
def test_an_object_store_that_fails_costs_no_computation(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without credentials, and without a server: boto3 and the HDFS client raise errors of their own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = tracking.connect()
    experiment = client.create_experiment(store.partition(":")[0], artifact_location=store)
    run = client.create_run(experiment).info.run_id
    (tmp_path / "picture.png").write_bytes(b"x")
    MlflowLog(run).file(tmp_path / "picture.png")
    assert "picture.png not logged" in caplog.text
    with pytest.raises(TrackingError, match="cannot be used"):
        tracking.read_artifact(run, "picture.png")


def test_an_error_without_words_is_named(run: str) -> None:
    with pytest.raises(TrackingError, match=r"cannot be used: ValueError\(\)"), tracking._translated_errors("it"):
        raise ValueError


def test_the_registry_counts_versions_and_moves_the_alias(run: str) -> None:
    assert tracking.champion("registry") is None
    assert tracking.versions("registry") == ()
    first = tracking.register("registry", run, {"digest": "a"})
    assert tracking.champion("registry") is None
    second = tracking.tag_version(tracking.register("registry", run, {"digest": "b"}), {"state": "accepted"})
    for version in (second, first):
        tracking.crown(version)
        found = tracking.champion("registry")
        assert found is not None and found.number == version.number and found.tags == version.tags
    assert [version.number for version in tracking.versions("registry")] == ["1", "2"]


def test_the_data_digest_is_read_from_data_dvc(tmp_path: Path) -> None:
    file = tmp_path / "data.dvc"
    assert tracking.data_digest(file) is None
    file.write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n", encoding="utf-8")
    digest = tracking.data_digest(file)
    assert digest == "0123456789abcdef0123456789abcdef.dir" and len(digest) <= 36
    file.write_text("outs: []\n", encoding="utf-8")
    with pytest.raises(TrackingError, match="holds no digest"):
        tracking.data_digest(file)


def test_a_run_states_the_data_it_read(run: str) -> None:
    tracking.log_input(run, "data", "0123456789abcdef0123456789abcdef.dir", "data.dvc")
    (entry,) = read(run).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("data", "0123456789abcdef0123456789abcdef.dir")


def test_a_server_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("KYARA_MLFLOW_URI", "http://127.0.0.1:9")
    settings.cache_clear()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9.*cannot be used"):
        tracking.connect()
