"""The generator that recipe and settings ask for."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components.errors import EnvironmentProblem
from components.prompting.cache import PromptCache
from components.prompting.clients import genai
from components.prompting.clients.anthropic import ANTHROPIC, AnthropicClient
from components.prompting.clients.gemini import GEMINI_MODEL, GeminiClient
from components.prompting.clients.genai import GenaiClient
from components.prompting.clients.openai import OPENAI, OpenAIClient
from components.prompting.clients.verbatim import VerbatimClient
from components.prompting.confidence import Calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.reader import Reader
from components.prompting.schema import Client, Layer, LayerWeight
from components.prompting.vocabulary import EMPTY, Vocabulary
from components.settings import PromptClient, Settings, settings

OFFLINE: PromptClient = "lexicon"
"""The client that a reader brings along."""

_WEIGHTS = TypeAdapter(dict[Layer, LayerWeight])


def make_generator(
    reader: Reader | None, calibration: Calibration | None = None, client: PromptClient | None = None
) -> RobustPromptGenerator | None:
    """Client, cache, fallback and weights; None where nobody reads, and the text goes to the model as it is typed.

    The reader's own client takes the place of one that fails, and reads faster than a cache answers.

    Args:
        reader: a recipe's; None: the model follows free text, and only a client that asks a service reads for it.
        calibration: a model's; where neither `client` nor the settings name one, the client it was learnt with reads.
        client: a recipe's choice; default: the settings'.

    Raises:
        ClientError: the client needs a key, and there is none.
        EnvironmentProblem: the client needs a model's name, or a weight is wrong.
    """
    here = settings()
    chosen = client or here.prompts_client or (calibration.client if calibration else OFFLINE)
    offline = reader.offline() if reader else None
    vocabulary = reader.vocabulary if reader else EMPTY
    weights = _weights(here.prompts_weights)
    told: dict[str, Any] = {"vocabulary": vocabulary, "calibration": calibration, "weights": weights}
    if chosen == OFFLINE:
        return RobustPromptGenerator(offline, **told) if offline else None
    service = make_client(here, chosen, vocabulary)
    return RobustPromptGenerator(service, offline or VerbatimClient(), open_cache(), **told)


def make_client(here: Settings, name: str, vocabulary: Vocabulary = EMPTY) -> Client:
    """The client `name`, which asks a service: gemini, openai or anthropic."""
    shared: dict[str, Any] = {"timeout": here.prompts_timeout, "vocabulary": vocabulary}
    if name == "gemini":
        model = here.prompts_model or GEMINI_MODEL
        client = GenaiClient if genai.is_installed() else GeminiClient
        return client(model, key=here.gemini_key, endpoint=here.prompts_url or "", **shared)
    if here.prompts_model is None:
        raise EnvironmentProblem(
            f"the prompt client {name!r} needs a model.", hint="Set KYARA_PROMPTS_MODEL to a model of the service."
        )
    if name == "openai":
        return OpenAIClient(here.prompts_model, key=here.openai_key, base_url=here.prompts_url or OPENAI, **shared)
    return AnthropicClient(here.prompts_model, key=here.anthropic_key, base_url=here.prompts_url or ANTHROPIC, **shared)


def open_cache() -> PromptCache:
    """The answers of this installation."""
    here = settings()
    return PromptCache(
        here.prompt_cache, size_limit=here.prompts_cache_mib << 20, max_age=86400.0 * here.prompts_cache_days
    )


def _weights(given: Mapping[str, float]) -> dict[Layer, float]:
    try:
        return _WEIGHTS.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise EnvironmentProblem(
            f"KYARA_PROMPTS_WEIGHTS: {first['loc'][0]!r}: {first['input']!r} is wrong: {first['msg']}.",
            hint='Write it as JSON, for example {"attributes": 1.2}; weights lie between 0 and 2.',
        ) from error
