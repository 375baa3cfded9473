"""The generator that the settings ask for."""

from collections.abc import Callable

from components.prompting.cache import PromptCache
from components.prompting.clients.anthropic import ANTHROPIC, AnthropicClient
from components.prompting.clients.gemini import GeminiClient
from components.prompting.clients.openai import OPENAI, OpenAIClient
from components.prompting.generator import RobustPromptGenerator
from components.prompting.lexicon import LexiconClient
from components.prompting.schema import Client, Draft
from components.settings import Settings, settings


def make_generator(calibration: Callable[[Draft], float] | None = None) -> RobustPromptGenerator:
    """Client, cache and fallback by the settings.

    The lexicon takes the place of a client that fails, and reads faster than a cache answers.

    Raises:
        ClientError: the client needs a key, and there is none.
    """
    here, lexicon = settings(), LexiconClient()
    if here.prompts_client == lexicon.name:
        return RobustPromptGenerator(lexicon, calibration=calibration)
    return RobustPromptGenerator(make_client(here), lexicon, open_cache(), calibration=calibration)


def make_client(here: Settings) -> Client:
    """The client that asks a service."""
    model, wait = here.prompts_model, here.prompts_timeout
    if here.prompts_client == "gemini":
        return GeminiClient(model, key=here.gemini_key, endpoint=here.prompts_url or "", timeout=wait)
    if here.prompts_client == "openai":
        return OpenAIClient(model, key=here.openai_key, timeout=wait, base_url=here.prompts_url or OPENAI)
    return AnthropicClient(model, key=here.anthropic_key, timeout=wait, base_url=here.prompts_url or ANTHROPIC)


def open_cache() -> PromptCache:
    """The answers of this installation."""
    here = settings()
    return PromptCache(
        here.prompt_cache, size_limit=here.prompts_cache_mib << 20, max_age=86400.0 * here.prompts_cache_days
    )
