"""Work pools: where queued runs are worked on. THE table of their kinds, and what a run is given in each.

A process pool runs what is installed beside its worker. Docker and Kubernetes pools start an image for each run
(KYARA_POOL_IMAGE), which holds the code as well; or every run clones the code first (KYARA_SOURCE).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from components.errors import EnvironmentProblem, RecipeError
from components.plugins import resolve
from components.settings import settings

DEFAULT = "kyara"


@dataclass(frozen=True)
class Kind:
    """A row of the table: Prefect's worker, and the job variables of every run unless the settings say others."""

    worker: str
    package: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    image: bool = True


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "process": Kind("prefect.workers.process:ProcessWorker", image=False),
        "docker": Kind("prefect_docker.worker:DockerWorker", "prefect-docker", {"image_pull_policy": "IfNotPresent"}),
        "kubernetes": Kind(
            "prefect_kubernetes.worker:KubernetesWorker",
            "prefect-kubernetes",
            {"image_pull_policy": "IfNotPresent", "finished_job_ttl": 3600},
        ),
    }
)


@dataclass(frozen=True)
class Pool:
    """A work pool of one kind."""

    name: str
    kind: str

    def template(self) -> dict[str, Any]:
        """The base job template of its kind. Raises EnvironmentProblem where its package is not installed."""
        row = KINDS[self.kind]
        try:
            found: dict[str, Any] = resolve(row.worker).get_default_base_job_template()
        except RecipeError as error:
            message = f"a {self.kind} pool needs the package {row.package!r}."
            raise EnvironmentProblem(message, hint="Install it: pip install 'kyara[cluster]'.") from error
        return found

    def job_variables(self) -> dict[str, Any]:
        """What every run in it is given. Raises EnvironmentProblem where it needs an image and none is named."""
        here, row = settings(), KINDS[self.kind]
        found = {**row.variables, "env": self._environment()}
        if row.image:
            image = here.pool_variables.get("image") or here.pool_image
            if image is None:
                message = f"a {self.kind} pool needs to know which image its runs start from."
                raise EnvironmentProblem(message, hint="Set KYARA_POOL_IMAGE (deploy/Dockerfile makes one).")
            found["image"] = image
        given = dict(here.pool_variables)
        found["env"] |= given.pop("env", {})
        return {**found, **given}

    def _environment(self) -> dict[str, str]:
        """A worker's own environment passes on by itself; an image has none of ours."""
        here = settings()
        return {"KYARA_MLFLOW_URI": here.mlflow_uri} if KINDS[self.kind].image and here.mlflow_uri else {}


def chosen_pool(kind: str | None = None, name: str | None = None) -> Pool:
    """The pool of the settings (KYARA_POOL_TYPE, KYARA_POOL) unless told otherwise; a pool has one kind.

    Raises:
        EnvironmentProblem: an unknown kind.
    """
    here = settings()
    kind = kind or here.pool_type
    if kind not in KINDS:
        raise EnvironmentProblem(f"pool type {kind!r} is unknown.", hint=f"Expected one of: {', '.join(KINDS)}.")
    return Pool(name or here.pool or (DEFAULT if kind == "process" else f"{DEFAULT}-{kind}"), kind)


def make_pool(pool: Pool) -> None:
    """Create the pool on the server of this context.

    Raises:
        EnvironmentProblem: a pool of that name is of another kind, or its package is not installed.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client:
        try:
            made = WorkPoolCreate(name=pool.name, type=pool.kind, base_job_template=pool.template())
            client.create_work_pool(made)
        except ObjectAlreadyExists:
            found = client.read_work_pool(pool.name).type
            if found != pool.kind:
                message = f"work pool {pool.name!r} is of type {found!r}, not {pool.kind!r}."
                raise EnvironmentProblem(message, hint="Name another with KYARA_POOL or --pool.") from None


def source() -> Any:
    """Where runs clone their code from, as Prefect's storage (KYARA_SOURCE: `<address>` or `<address>#<branch>`).

    None: the code is installed where they run.
    """
    from prefect.runner.storage import GitRepository

    if settings().source is None:
        return None
    address, _, branch = str(settings().source).partition("#")
    return GitRepository(url=address, branch=branch or None)
