"""A request's prompt, read before it is drawn, and what is offered where it can be read in several ways."""

from collections.abc import Callable
from typing import Any

from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.request import GenerateRequest
from components.image.promptset import with_trigger
from components.prompting.generator import RobustPromptGenerator
from components.prompting.rendering import CLIP_TOKENS, rendered, unwanted
from components.prompting.schema import PromptRequest, Reading, RobustPrompt
from components.prompting.vocabulary import Vocabulary

DOUBT = 0.9
"""A reading below this probability is in doubt."""

OFFERED = 3


def read(request: GenerateRequest, generator: RobustPromptGenerator | None) -> RobustPrompt | None:
    """What the prompt means; None where it is to be drawn as typed: `raw`, no words, or nobody reads."""
    if generator is None or request.raw or not request.prompt.strip():
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


def told(asked: GenerateRequest, prompt: RobustPrompt | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """A reading as JSON: the model's words (`text`, `negative`), and for one that was read (`prompt`: its layers) the
    `confidence` that the picture shows it, and `offers` of other readings where words are in doubt.
    """
    words = {"text": asked.prompt, "negative": asked.negative_prompt}
    if prompt is None:
        return {**words, "prompt": None, "confidence": None, "offers": []}
    found = {"prompt": prompt.model_dump(mode="json"), "confidence": prompt.confidence}
    return {**words, **found, "offers": offers(prompt, vocabulary)}


def offers(prompt: RobustPrompt, vocabulary: Vocabulary) -> list[str]:
    """The nearest readings, likeliest first: each doubtful attribute with its other values; empty without doubt."""
    doubtful = sorted(
        (reading for reading in prompt.draft.attributes if reading.probability < DOUBT and reading.alternatives),
        key=lambda reading: reading.probability,
    )
    if not doubtful:
        return []
    first = doubtful[0]
    values = [first.value, *first.alternatives][:OFFERED]
    return [_worded(prompt, first, value, vocabulary) for value in values]


def _worded(prompt: RobustPrompt, changed: Reading, value: str, vocabulary: Vocabulary) -> str:
    """The whole request in plain words, with one attribute as `value`."""
    language = prompt.draft.language
    asked = {**prompt.draft.asked, changed.attribute: value}
    tags = [vocabulary.words(name, chosen, language)[0] for name, chosen in asked.items()]
    return ("、" if language == "ja" else ", ").join([*tags, *prompt.draft.extra])
