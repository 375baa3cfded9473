"""`kyara publish`: the champion as a folder that others can load, and with --push on the Hugging Face Hub.

Without --push nothing leaves this machine: the folder is written, and what would be sent is said.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import artifact
from components.artifact import replacing
from components.contracts import METRICS
from components.errors import EnvironmentProblem, ModelError, RecipeError, RequestError
from components.image.product import LORA, PromotedModel, read_model
from components.recipe import Recipe
from components.settings import settings
from flows.publishing.card import ATTRIBUTION, Facts, render
from flows.publishing.licences import licence_of, named_licences
from flows.publishing.samples import write_samples
from flows.publishing.weights import BASE, write_weights
from flows.stage import open_recipe

MODALITY = "image"


@dataclass(frozen=True)
class Published:
    """A folder that is ready to be sent; `url` is where it went, None where it stayed."""

    folder: Path
    repo: str
    url: str | None = None

    @property
    def files(self) -> list[tuple[str, int]]:
        """Relative name and bytes of every file."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in found]


def publish(
    recipe: str | None = None,
    to: str | None = None,
    *,
    push: bool = False,
    private: bool = False,
    license: str | None = None,
    samples: bool = True,
) -> Published:
    """Write out/publish/<name>, and send it where `push` says so.

    Args:
        recipe: a promoted recipe's name, or its file; default: the champion that was promoted last.
        to: `user/name` on the hub; default: the name, under whoever pushes.
        license: SPDX expression that wins over what the dataset says.
        samples: whether pictures are drawn for the card, where the measured ones are gone.

    Raises:
        RequestError: the licence forbids it or is missing; `to` is no name of a repository.
        ModelError: nothing was promoted.
        EnvironmentProblem: the hub refuses or does not answer.
    """
    _check_name(to)
    named = _recipe(recipe)
    model = read_model(_champion(named.name if named else recipe), verify=True)
    opened = named or _recipe(model.card.name)
    facts = _facts(model, to or model.card.name, license, opened.description if opened else "")
    out = settings().base_dir / "out" / "publish" / model.card.name
    with replacing(out) as temporary:
        temporary.mkdir()
        _fill(model, facts, temporary, opened, samples)
    made = Published(out, facts.repo)
    return Published(out, *_push(made, private, model.card.version)) if push else made


def _fill(model: PromotedModel, facts: Facts, out: Path, recipe: Recipe | None, samples: bool) -> None:
    write_weights(model, out, with_base=facts.with_base)
    if (model.folder / METRICS).is_file():
        shutil.copyfile(model.folder / METRICS, out / METRICS)
    attribution = _attribution(model)
    if attribution is not None:
        shutil.copyfile(attribution, out / ATTRIBUTION)
    if samples:
        write_samples(model, getattr(recipe, "prompts", None), out)
    (out / "README.md").write_text(render(model, facts, out), encoding="utf-8")


def _recipe(name: str | None) -> Recipe | None:
    """The recipe, where its file is still there."""
    try:
        return None if name is None else open_recipe(name)
    except RecipeError:
        return None


def _champion(name: str | None) -> Path:
    models = settings().models_dir
    if name is None:
        latest = artifact.latest_champion(models, MODALITY)
        if latest is None:
            raise ModelError(f"no model was promoted in {str(models)!r}.", hint="Make one: `kyara produce RECIPE`.")
        return latest
    if Path(name).name != name or not (models / MODALITY / name / artifact.POINTER).is_file():
        raise ModelError(f"recipe {name!r} has no champion.", hint=f"Make one: `kyara produce {name}`.")
    return artifact.pointed(models / MODALITY / name)


def _facts(model: PromotedModel, repo: str, license: str | None, description: str) -> Facts:
    lora = _read(model.folder / LORA / "metadata.json")
    statement = license or model.card.license
    artist = str(lora.get("artist") or "")
    local = (model.folder / BASE).is_dir()
    attribution = _attribution(model)
    licences = [] if attribution is None else named_licences(attribution.read_text(encoding="utf-8"))
    return Facts(
        repo=repo,
        licence=licence_of(" AND ".join([statement, *licences]) if statement else "", artist),
        statement=statement,
        artist="" if artist.lower() == "unknown" else artist,
        base=Path(str(lora.get("base") or BASE)).name if local else model.card.model.base,
        attribution=attribution is not None,
        # A base from this machine is passed on only where somebody wrote down whose work it is.
        with_base=local and attribution is not None,
        trained={"rank": lora.get("rank", "unknown"), "guidance": _guidance(model), "description": description},
    )


def _guidance(model: PromotedModel) -> float:
    """As diffusers means it: a student with the scale in its weights is asked once, at 1; one that embeds it, at it."""
    config = model.folder / "lcm_distilled_model" / "unet" / "config.json"
    embedded = config.is_file() and _read(config).get("time_cond_proj_dim") is not None
    student = _read(model.folder / "lcm_distilled_model" / "metadata.json") if embedded else {}
    return float(student.get("guidance") or 1.0)


def _attribution(model: PromotedModel) -> Path | None:
    """ATTRIBUTION.md beside the base that the LoRA was trained on, which the promoted folder holds as `base`."""
    named = _read(model.folder / LORA / "metadata.json").get("base")
    file = settings().resolve(str(named)).parent / ATTRIBUTION if named else None
    return file if file is not None and file.is_file() and (model.folder / BASE).is_dir() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error}.", hint="Make the model again.") from error
    return found


def _check_name(to: str | None) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        if to is not None:
            validate_repo_id(to)
    except HFValidationError as error:
        raise RequestError(f"{to!r} is no name on the hub: {error}", hint="Expected user/name.") from error


def _push(made: Published, private: bool, version: str) -> tuple[str, str]:
    """The repository's full name and address. Raises EnvironmentProblem."""
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="kyara")
    try:
        repo = api.create_repo(made.repo, private=private, exist_ok=True)
        if repo.repo_id != made.repo:
            card = made.folder / "README.md"
            told = card.read_text(encoding="utf-8").replace(f'"{made.repo}"', f'"{repo.repo_id}"')
            card.write_text(told, encoding="utf-8")
        message = f"Version {version}, by Kyara"
        api.upload_folder(repo_id=repo.repo_id, folder_path=made.folder, commit_message=message)
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), "") or repr(error)
        raise EnvironmentProblem(
            f"the hub at {api.endpoint!r} did not take {made.repo!r}: {reason}",
            hint=f"Log in with `hf auth login` or set HF_TOKEN. What was to be sent lies in {made.folder}.",
        ) from error
    return repo.repo_id, str(repo)
