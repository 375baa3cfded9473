"""RobustPromptGenerator: a request in, a prompt out, whatever the client does."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from components.prompting.cache import Answered, PromptCache, cache_key
from components.prompting.clients import AnswerError, ClientError, WrongAnswer
from components.prompting.resilience import Resilience
from components.prompting.schema import Client, Draft, Layer, PromptRequest, Provenance, RobustPrompt
from components.prompting.syntax import has_commands
from components.prompting.validation import mended, mistakes
from components.prompting.vocabulary import EMPTY, Vocabulary

logger = logging.getLogger("kyara")

_COMMANDS = "The request holds commands, which only a reader that keeps every word may read."
FALLBACK_TRUST = 0.8
"""Factor on the confidence where another client than the chosen one answered."""


class RobustPromptGenerator:
    """Cache, then client, then the client once more with its mistakes told, then the fallback client.

    The last client in the row is replaced by nobody: its contradictions are taken out, its errors are raised. What a
    draft may say is checked against `vocabulary`, the model's.
    `calibration` gives the confidence; without one it is the product of the readings' probabilities. `weights` are
    those of the layers.
    """

    def __init__(
        self,
        client: Client,
        fallback: Client | None = None,
        cache: PromptCache | None = None,
        *,
        vocabulary: Vocabulary = EMPTY,
        resilience: Resilience | None = None,
        calibration: Callable[[Draft], float] | None = None,
        weights: Mapping[Layer, float] | None = None,
    ) -> None:
        self.client = client
        self.fallback = fallback
        self.cache = cache
        self.vocabulary = vocabulary
        self.resilience = resilience or Resilience()
        self.calibration = calibration
        self.weights = dict(weights or {})

    def generate(self, request: PromptRequest) -> RobustPrompt:
        """The prompt of a request; one that holds commands goes to the fallback, which leaves them in their place."""
        if self.fallback is not None and has_commands(request.text):
            return self._fallen_back(self.fallback, request, _COMMANDS)
        try:
            answer, cached = self._answered(request)
        except ClientError as error:
            if self.fallback is None:
                raise
            logger.warning("%s The %s client answers instead.", error.message, self.fallback.name)
            return self._fallen_back(self.fallback, request, error.message)
        provenance = Provenance(
            client=self.client.name, model=self.client.model, cached=cached, repaired=answer.repaired
        )
        return self._prompt(request, answer.draft, provenance)

    def _answered(self, request: PromptRequest) -> tuple[Answered, bool]:
        if self.cache is None:
            return self._asked(request), False
        key = cache_key(request, self.client, self.vocabulary)
        return self.cache.get_or_make(key, lambda: self._asked(request))

    def _asked(self, request: PromptRequest) -> Answered:
        problems: Sequence[str] = ()
        draft: Draft | None = None
        for repaired in (False, True):
            try:
                draft = self.resilience.call(self.client, request, problems)
                # Words in their place are the user's own.
                problems = () if draft.parts else mistakes(draft, self.vocabulary)
            except AnswerError as error:
                problems = error.problems
            else:
                if not problems:
                    return Answered(draft=draft, repaired=repaired)
        if draft is not None and self.fallback is None:
            return Answered(draft=mended(draft, self.vocabulary), repaired=True)
        raise WrongAnswer(self.client.name, problems)

    def _fallen_back(self, fallback: Client, request: PromptRequest, why: str) -> RobustPrompt:
        provenance = Provenance(client=fallback.name, model=fallback.model, fallback=why)
        return self._prompt(request, mended(fallback.draft(request), self.vocabulary), provenance)

    def _prompt(self, request: PromptRequest, draft: Draft, provenance: Provenance) -> RobustPrompt:
        asked = draft.asked
        told = [self.vocabulary.words(name, asked[name]) for name in self.vocabulary.attributes if name in asked]
        return RobustPrompt(
            request=request.text,
            draft=draft,
            trigger=request.trigger,
            style=request.style,
            attributes=tuple(words[0] for words in told),
            synonyms=tuple(words[1] for words in told if len(words) > 1),
            weights=self.weights,
            confidence=self._confidence(draft) * (FALLBACK_TRUST if provenance.fallback else 1.0),
            provenance=provenance,
        )

    def _confidence(self, draft: Draft) -> float:
        if self.calibration is not None:
            return self.calibration(draft)
        return math.prod(reading.probability for reading in draft.attributes)
