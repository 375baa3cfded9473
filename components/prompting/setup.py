"""The generator that recipe and settings ask for."""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from components.errors import EnvironmentProblem
from components.portraits.reader.lexicon import LexiconClient
from components.prompting.cache import PromptCache
from components.prompting.clients.anthropic import ANTHROPIC, AnthropicClient
from components.prompting.clients.gemini import GEMINI_MODEL, GeminiClient
from components.prompting.clients.openai import OPENAI, OpenAIClient
from components.prompting.confidence import Calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import Client, Layer, LayerWeight
from components.settings import PromptClient, Settings, settings

_WEIGHTS = TypeAdapter(dict[Layer, LayerWeight])


def make_generator(calibration: Calibration | None = None, client: PromptClient | None = None) -> RobustPromptGenerator:
    """Client, cache, fallback and weights.

    The lexicon takes the place of a client that fails, and reads faster than a cache answers.

    Args:
        calibration: a model's; where neither `client` nor the settings name one, the client it was learnt with reads.
        client: a recipe's choice; default: the settings'.

    Raises:
        ClientError: the client needs a key, and there is none.
        EnvironmentProblem: the client needs a model's name, or a weight is wrong.
    """
    here, lexicon = settings(), LexiconClient()
    chosen = client or here.prompts_client or (calibration.client if calibration else lexicon.name)
    weights = _weights(here.prompts_weights)
    if chosen == lexicon.name:
        return RobustPromptGenerator(lexicon, calibration=calibration, weights=weights)
    return RobustPromptGenerator(
        make_client(here, chosen), lexicon, open_cache(), calibration=calibration, weights=weights
    )


def make_client(here: Settings, name: str) -> Client:
    """The client `name`, which asks a service: gemini, openai or anthropic."""
    wait = here.prompts_timeout
    if name == "gemini":
        model = here.prompts_model or GEMINI_MODEL
        return GeminiClient(model, key=here.gemini_key, endpoint=here.prompts_url or "", timeout=wait)
    if here.prompts_model is None:
        raise EnvironmentProblem(
            f"the prompt client {name!r} needs a model.", hint="Set KYARA_PROMPTS_MODEL to a model of the service."
        )
    if name == "openai":
        return OpenAIClient(here.prompts_model, key=here.openai_key, timeout=wait, base_url=here.prompts_url or OPENAI)
    return AnthropicClient(
        here.prompts_model, key=here.anthropic_key, timeout=wait, base_url=here.prompts_url or ANTHROPIC
    )


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
