"""What lies in deploy/: linted and checked against schemas by tools that come as packages, and against each other."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.modalities import load_recipe
from components.settings import REPOSITORY, Settings, settings

DEPLOY = REPOSITORY / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
KUBERNETES = "1.31"
ROLES = re.findall(r'^    "(\w+)": lambda', (DEPLOY / "entrypoint.py").read_text(), flags=re.MULTILINE)


def tool(name: str) -> str:
    """A program beside this Python; the test is skipped where it is missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def read(path: Path) -> list[dict[str, Any]]:
    return [part for part in yaml.safe_load_all(path.read_text(encoding="utf-8")) if part]


def manifests() -> Iterator[dict[str, Any]]:
    for path in sorted(BASE.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from read(path)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for each in manifests():
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def compose() -> dict[str, Any]:
    (found,) = read(DEPLOY / "compose.yaml")
    return found


def test_the_dockerfile_is_linted() -> None:
    done = subprocess.run([tool("hadolint"), str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_follows_the_specification(name: str) -> None:
    check = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_docker_itself_reads_the_compose_file(tmp_path: Path) -> None:
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker has no compose plugin here")
    secrets = ("POSTGRES_PASSWORD", "STORE_PASSWORD", "PREFECT_PASSWORD", "KYARA_STUDIO_KEY")
    (tmp_path / "env").write_text("".join(f"{name}=x\n" for name in secrets))
    command = [docker, "compose", "--env-file", str(tmp_path / "env"), "-f", str(DEPLOY / "compose.yaml")]
    done = subprocess.run([*command, "config", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compose_is_closed_pinned_and_without_root() -> None:
    services = compose()["services"]
    assert {"service", "studio", "worker", "prefect", "mlflow", "postgres", "store"} <= set(services)
    for name, each in services.items():
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", ())), name
        assert each["user"] in ("10001:10001", "postgres") and each["read_only"] and each["cap_drop"] == ["ALL"], name
        assert "healthcheck" in each, name
        version = each["image"].rpartition(":")[2]
        assert version and "latest" not in version, name


def test_no_secret_is_written_down() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    secret = re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY|_STRING|STUDIO_KEY): (\S+)", text)
    assert secret and all("${" in value for value in secret)
    example = (DEPLOY / ".env.example").read_text()
    assert not re.findall(r"^\w*(?:PASSWORD|KEY)=.+$", example, flags=re.MULTILINE)
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked <= set(re.findall(r"^(\w+)=", example, flags=re.MULTILINE))


def test_every_container_of_ours_runs_a_known_role() -> None:
    commands = [
        each["command"]
        for each in compose()["services"].values()
        if "KYARA_IMAGE" in each["image"] and "command" in each
    ]
    commands += [box["args"] for _, pod in pods() for box in (*pod.get("initContainers", ()), *pod["containers"])]
    assert commands and all(command[0] in ROLES for command in commands)


def environments() -> Iterator[str]:
    """Every KYARA_* that a file under deploy/ sets for a container of ours."""
    for each in compose()["services"].values():
        yield from each.get("environment", ())
    for each in manifests():
        yield from each.get("data", ()) if each["kind"] == "ConfigMap" else ()
    for _, pod in pods():
        for box in (*pod.get("initContainers", ()), *pod["containers"]):
            yield from (entry["name"] for entry in box.get("env", ()))


def test_every_setting_that_is_set_exists() -> None:
    ours = {f"KYARA_{name.upper()}" for name in Settings.model_fields} | {"KYARA_RECIPE"}
    unknown = {name for name in environments() if name.startswith("KYARA_")} - ours
    assert unknown == set()


def test_manifests_follow_the_schemas_of_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for each in (*manifests(), *read(DEPLOY / "kubernetes" / "secrets.example.yaml")):
        validate(each, KUBERNETES, strict=True)


def test_pods_have_no_rights() -> None:
    for name, pod in pods():
        assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"], name
        for box in (*pod.get("initContainers", ()), *pod["containers"]):
            context = box["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], name
            assert context["capabilities"] == {"drop": ["ALL"]} and "memory" in box["resources"]["limits"], name


def test_a_pod_has_time_for_what_it_accepted() -> None:
    (config,) = [each["data"] for each in manifests() if each["kind"] == "ConfigMap"]
    grace = dict(pods())["service"]["terminationGracePeriodSeconds"]
    service = compose()["services"]["service"]
    for told, seconds in ((config, grace), (service["environment"], float(service["stop_grace_period"].rstrip("s")))):
        most = float(told["KYARA_DRAIN_MOST_SECONDS"])
        assert float(told["KYARA_REQUEST_SECONDS"]) < most
        assert most + float(told.get("KYARA_DRAIN_SECONDS", settings().drain_seconds)) < seconds


def test_replicas_grow_with_the_queue() -> None:
    (scaler,) = [each["spec"] for each in manifests() if each["kind"] == "HorizontalPodAutoscaler"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] == "kyara_queue_depth"
    assert '"kyara_queue_depth"' in (REPOSITORY / "serving" / "metrics.py").read_text()
    (rules,) = read(DEPLOY / "kubernetes" / "metrics" / "adapter.yaml")
    assert rules["rules"]["custom"][0]["name"]["as"] == "kyara_queue_depth"
    # More replicas before any of them refuses.
    most = load_recipe(REPOSITORY / "flows" / "recipes" / "manga-tiny.yaml").package.max_concurrency
    assert int(metric["pods"]["target"]["averageValue"]) < most


def test_kustomizations_name_files_that_are_there() -> None:
    for file in sorted((DEPLOY / "kubernetes").glob("*/kustomization.yaml")):
        (found,) = read(file)
        named = [*found["resources"], *(patch["path"] for patch in found.get("patches", ()))]
        assert all((file.parent / name).exists() for name in named), file
    known = {(each["kind"], each["metadata"]["name"]) for each in manifests()}
    for patch in (DEPLOY / "kubernetes" / "gpu").glob("[!k]*.yaml"):
        (change,) = read(patch)
        (box,) = change["spec"]["template"]["spec"]["containers"]
        assert (change["kind"], change["metadata"]["name"]) in known and box["name"] == change["metadata"]["name"]
        assert box["resources"]["requests"] == {"nvidia.com/gpu": "1"}


def test_files_of_platforms_name_what_is_there() -> None:
    platforms = DEPLOY / "platforms"
    railway = json.loads((platforms / "railway.json").read_text())
    (heroku,) = read(platforms / "heroku.yml")
    for named in (railway["build"]["dockerfilePath"], heroku["build"]["docker"]["web"]):
        assert (REPOSITORY / named).is_file()
    (run,) = read(platforms / "cloudrun.yaml")
    boxes = {box["name"]: box for box in run["spec"]["template"]["spec"]["containers"]}
    assert [box["args"][0] in ROLES for box in boxes.values()] == [True, True]
    mounted = {mount["name"] for box in boxes.values() for mount in box["volumeMounts"]}
    assert mounted == {volume["name"] for volume in run["spec"]["template"]["spec"]["volumes"]}


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of BentoML's import, on pathspec 1
def test_bentoml_reads_the_file_of_bentocloud() -> None:
    from bentoml._internal.cloud.schemas.modelschemas import DeploymentServiceConfig
    from bentoml._internal.utils.cattr import bentoml_cattr

    (cloud,) = read(DEPLOY / "platforms" / "bentocloud.yaml")
    for section in cloud["services"].values():
        known = bentoml_cattr.structure(section, DeploymentServiceConfig)
        assert known.scaling.max_replicas == 4 and set(section) <= set(vars(DeploymentServiceConfig)["__annotations__"])
