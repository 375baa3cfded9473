"""Where we run: folders, addresses, device. The environment (KYARA_*) is read here and nowhere else."""

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _listed(value: Any) -> Any:
    """`a, b` of the environment as ("a", "b")."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
PromptClient = Literal["lexicon", "gemini", "openai", "anthropic"]
REPOSITORY = Path(__file__).resolve().parent.parent

# The one place where every tool's calls to the outside are switched off; a user's own environment wins.
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "DVC_NO_ANALYTICS": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Settings(BaseSettings):
    """Folders and addresses of one installation. Every field can be set as KYARA_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="KYARA_", frozen=True, extra="ignore")

    root: Path = Field(REPOSITORY, description="Folder that relative paths of recipes and all roots below refer to.")
    home: Path | None = Field(None, description="Folder for everything that is made; default: the root.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where models run.")
    threads: int | None = Field(None, ge=1, description="CPU threads for torch; default: all cores.")
    mlflow_uri: str | None = Field(None, description="MLflow tracking server; default: a SQLite file under the home.")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server on loopback.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow pages on loopback.")
    serve_port: int = Field(3000, ge=1, le=65535, description="Port of the BentoML service on loopback.")
    allowed_hosts: Names = Field(
        (), description="Names besides loopback under which our servers answer, by comma; `*`: any."
    )
    allowed_origins: Names = Field(
        (), description="Origins of other pages that may ask our servers, by comma: https://studio.example.org."
    )
    models: Path | None = Field(
        None, description="Folder of promoted models with a `champion` pointer, watched by the service."
    )
    champion: str | None = Field(
        None, description="What `kyara pull` and `kyara serve` follow in the registry: models:/manga-tiny@champion."
    )
    follow_seconds: float = Field(
        10.0, ge=1, le=3600, description="Seconds between two looks of `kyara pull --follow` at the registry."
    )
    loras: Path | None = Field(None, description="Folder of LoRAs that requests may name; default: loras/ in the home.")
    parts: Path | None = Field(
        None,
        description="Folder of vae/, ip_adapter/ and refiner/ that requests may name; default: parts/ in the home.",
    )
    controlnets: Names = Field(
        (), description="Public ControlNets that requests may name: hub ids or diffusers folders, by comma."
    )
    low_memory: bool = Field(
        False, description="Draw with less memory and more time: attention in slices, ControlNets off the GPU."
    )
    prompts_client: PromptClient | None = Field(
        None,
        description="Who reads prompts; default: the recipe's, which is the offline lexicon, whatever keys there are.",
    )
    prompts_model: str | None = Field(None, description="Model of the client; gemini has a default.")
    prompts_weights: dict[str, float] = Field(
        default_factory=dict,
        description='Weights of a prompt\'s layers, as JSON: {"attributes": 1.2, "synonyms": 0.8}.',
    )
    prompts_url: str | None = Field(None, description="Address of the client's service, of a local server, say.")
    prompts_timeout: float = Field(20.0, gt=0, le=600, description="Seconds that a client may take.")
    prompts_cache_mib: int = Field(64, ge=1, description="Size of the cache of answers.")
    prompts_cache_days: float = Field(30.0, gt=0, description="Age at which an answer is asked for again.")
    prompts_sure: float = Field(0.6, ge=0, le=1, description="Confidence from which one picture is enough.")
    prompts_unsure: float = Field(0.15, ge=0, le=1, description="Confidence below which other readings are offered.")
    prompts_best_of: int = Field(4, ge=1, le=16, description="Pictures of which the best is kept, in between.")
    request_cost: float = Field(
        400, gt=0, description="Most that a picture may cost: steps x area x chunks of 75 tokens, twice with guidance."
    )
    request_seconds: float = Field(
        120, gt=0, le=3600, description="Most that an answer over HTTP may take, waiting included; not of tasks."
    )
    body_seconds: float = Field(30, gt=0, le=600, description="Seconds in which a request's body must have arrived.")
    task_seconds: float = Field(3600, gt=0, description="Most that a task may take, waiting included.")
    tasks_kept: int = Field(64, ge=1, le=4096, description="Tasks that the service keeps, ended ones among them.")
    tasks_kept_seconds: float = Field(3600, gt=0, description="How long the answer of an ended task is kept.")
    keys: Path | None = Field(
        None, description="File of API keys, each a line `NAME SECRET [PER_MINUTE]`; null: only this machine may ask."
    )
    key_rate: float = Field(60, gt=0, description="Requests a minute of a key whose line does not say.")
    key_burst: int = Field(20, ge=1, description="Requests of a key that may come at once.")
    log_format: Literal["json", "text"] = Field("json", description="Of the service's log.")
    drain_seconds: float = Field(
        1, ge=0, le=600, description="Seconds for which an ending service answers 503 after its work is done."
    )
    drain_most_seconds: float = Field(150, gt=0, description="Seconds after which an ending service gives up its work.")
    engine_cache_mib: int = Field(4096, ge=1, description="Size of the cache of converted and compiled networks.")
    adapters_kept: int = Field(
        4, ge=0, le=64, description="Compiled networks with LoRAs that stay in memory; 0: LoRAs run in plain torch."
    )
    gemini_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("KYARA_GEMINI_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
    )
    openai_key: SecretStr | None = Field(None, validation_alias=AliasChoices("KYARA_OPENAI_KEY", "OPENAI_API_KEY"))
    anthropic_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("KYARA_ANTHROPIC_KEY", "ANTHROPIC_API_KEY")
    )

    @property
    def base_dir(self) -> Path:
        """Folder that holds what Kyara makes."""
        return (self.home or self.root).resolve()

    @property
    def artifacts(self) -> Path:
        """One sealed folder a stage: artifacts/<recipe>/<stage>/."""
        return self.base_dir / "artifacts"

    @property
    def models_dir(self) -> Path:
        """Promoted models: models/<modality>/<recipe>/<version>/ and a `champion` pointer beside them."""
        return (self.models or self.base_dir / "models").resolve()

    @property
    def loras_dir(self) -> Path:
        """LoRAs that requests may name: <name>.safetensors, or a folder <name> in peft's form."""
        return (self.loras or self.base_dir / "loras").resolve()

    @property
    def sliders_dir(self) -> Path:
        """Attribute directions that `kyara directions` learnt: <recipe>.safetensors."""
        return self.base_dir / "sliders"

    @property
    def parts_dir(self) -> Path:
        """Optional parts that requests may name, by kind: vae/<name>, ip_adapter/<name>, refiner/<name>."""
        return (self.parts or self.base_dir / "parts").resolve()

    @property
    def presets(self) -> Path:
        """Named settings that a user saved: <name>.json."""
        return self.state / "presets"

    @property
    def runs(self) -> Path:
        """One folder a run with its resolved configuration: runs/<id>/config.json."""
        return self.base_dir / "runs"

    @property
    def logs(self) -> Path:
        """Log files: logs/train_<run id>.log, logs/setup_<time>.log."""
        return self.base_dir / "logs"

    @property
    def state(self) -> Path:
        """Homes of Prefect, MLflow and BentoML, caches, presets."""
        return self.base_dir / ".kyara"

    @property
    def prompt_cache(self) -> Path:
        """Answers of prompt clients."""
        return self.state / "cache" / "prompts"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs and the registry."""
        return self.mlflow_uri or f"sqlite:///{(self.state / 'mlflow' / 'mlflow.db').as_posix()}"

    def resolve(self, path: str | Path) -> Path:
        """A path of a recipe as an absolute path."""
        given = Path(path).expanduser()
        return given if given.is_absolute() else self.root / given


@cache
def settings() -> Settings:
    """The settings of this process, read once. `settings.cache_clear()` reads the environment again."""
    return Settings()


def quiet_environment() -> None:
    """Switch off telemetry and give the tools their homes; call before prefect, mlflow, dvc or bentoml is imported."""
    here = settings()
    homes = {"PREFECT_HOME": here.state / "prefect", "BENTOML_HOME": here.state / "bentoml"}
    for name, value in {**QUIET, **{key: str(path) for key, path in homes.items()}}.items():
        os.environ.setdefault(name, value)
