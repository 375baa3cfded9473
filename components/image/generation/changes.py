"""An edit in words: which words of a prompt give way to which. No torch here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.errors import RequestError
from components.prompting.vocabulary import Vocabulary

_TOLD = 80
"""Characters of a wrong value that an error repeats."""


@dataclass(frozen=True)
class Changed:
    """`prompt` after the change; `old` and `new` are the words that went and came, one pair a change.

    An `old` is empty where the prompt had not said it. `asked`: attribute -> value, of what the vocabulary knows.
    """

    prompt: str
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    asked: Mapping[str, str] = field(default_factory=dict)


def changed(prompt: str, change: Mapping[str, str], vocabulary: Vocabulary) -> Changed:
    """A prompt with attributes or words of it changed.

    Args:
        change: attribute -> value (`expression` -> `frown`, or a word for it), or words of the prompt -> other words.
        vocabulary: what the model can be asked for by name; may be empty.

    Raises:
        RequestError: an unknown attribute or value, or words that the prompt does not say; lists what is known.
    """
    done = Changed(prompt)
    for name, value in change.items():
        attribute = re.sub(r"[\s-]+", "_", name.strip().lower())
        if attribute in vocabulary.attributes:
            done = _attribute(done, attribute, value, vocabulary)
        else:
            done = _words(done, name, value, vocabulary)
    return done


def _attribute(done: Changed, attribute: str, value: str, vocabulary: Vocabulary) -> Changed:
    chosen = _value(attribute, value, vocabulary)
    new = vocabulary.words(attribute, chosen)[0]
    known = [word for other in vocabulary.attributes[attribute] for word in _all_words(attribute, other, vocabulary)]
    prompt, old = _replaced(done.prompt, known, new)
    if not old:
        prompt = f"{prompt}, {new}" if prompt.strip() else new
    return Changed(prompt, (*done.old, old), (*done.new, new), {**done.asked, attribute: chosen})


def _words(done: Changed, old: str, new: str, vocabulary: Vocabulary) -> Changed:
    prompt, said = _replaced(done.prompt, [old], new) if old.strip() and new.strip() else (done.prompt, "")
    if not said:
        known = ", ".join(vocabulary.attributes) or "none, for this model has no vocabulary"
        raise RequestError(
            f"change {old[:_TOLD]!r} is no attribute, and the prompt {done.prompt!r} does not say it.",
            hint=f"Known attributes: {known}; or name words of the prompt, and what they shall become.",
        )
    meant = vocabulary.meaning(new)
    return Changed(prompt, (*done.old, said), (*done.new, new), {**done.asked, **dict([meant] if meant else [])})


def _value(attribute: str, value: str, vocabulary: Vocabulary) -> str:
    """A value by its id or by a word for it."""
    values = vocabulary.attributes[attribute]
    plain = value.strip().casefold()
    for each in values:
        if plain == each or plain in (word.casefold() for word in _all_words(attribute, each, vocabulary)):
            return each
    raise RequestError(f"{attribute} {value[:_TOLD]!r} is unknown.", hint=f"Known: {', '.join(values)}.")


def _all_words(attribute: str, value: str, vocabulary: Vocabulary) -> Sequence[str]:
    english, japanese = vocabulary.entries[attribute][value]
    return (*english, *japanese)


def _replaced(prompt: str, words: Sequence[str], new: str) -> tuple[str, str]:
    """All of `words` in a prompt replaced, the longest first, and the first that stood there; empty: none did."""
    either = "|".join(re.escape(word.strip()) for word in sorted(words, key=len, reverse=True))
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])", re.IGNORECASE)
    first = pattern.search(prompt)
    return (prompt, "") if first is None else (pattern.sub(lambda _: new, prompt), first[0])
