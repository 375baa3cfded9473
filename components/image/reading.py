"""A request's prompt, read before it is drawn: what `kyara generate` and the service share."""

from collections.abc import Callable

from components.image.families.syntax import MAX_CHUNKS, parts
from components.image.generation.request import GenerateRequest
from components.image.promptset import with_trigger
from components.prompting.generator import RobustPromptGenerator
from components.prompting.rendering import CLIP_TOKENS, rendered, unwanted
from components.prompting.schema import PromptRequest, RobustPrompt


def read(request: GenerateRequest, generator: RobustPromptGenerator | None) -> RobustPrompt | None:
    """What the prompt means; None where it is to be drawn as typed: `raw`, with `(weights:1.2)`, or nobody reads."""
    if generator is None or request.raw or any(weight != 1.0 for _, weight in parts(request.prompt)):
        return None
    return generator.generate(PromptRequest(text=request.prompt, negative=request.negative_prompt))


def worded(
    request: GenerateRequest, prompt: RobustPrompt | None, trigger: str, count_tokens: Callable[[str], int]
) -> GenerateRequest:
    """The request in the model's words; what nobody could read stays as typed."""
    if prompt is None:
        return request
    limit = MAX_CHUNKS * CLIP_TOKENS
    text = rendered(prompt, lambda text: count_tokens(with_trigger(text, trigger)), limit)
    return request.model_copy(update={"prompt": text or request.prompt, "negative_prompt": unwanted(prompt)})
