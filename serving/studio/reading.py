"""How a prompt was read, as a few words of HTML: what was understood, what was mended, and how sure that is."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from serving.studio.client import Model
from serving.studio.words import Words

MISTAKES = ("typo", "look-alike", "sound", "width")
"""Corrections worth telling; translations and synonyms are no mistakes."""
DOUBT = 0.9
"""A word that is less sure than this is marked."""


def view(read: Mapping[str, Any], model: Model, say: Words) -> str:
    """A RobustPrompt of `POST /prompts` as HTML. Every text in it is escaped."""
    draft = read.get("draft") or {}
    parts = [f'<div class="k-chips">{"".join(_chips(draft, model, say))}</div>', *_notes(draft, say)]
    percent = round(100 * float(read.get("confidence", 0)))
    text = escape(say("reading.sure", percent=percent))
    bar = f'<span class="k-bar" aria-hidden="true"><i style="width:{percent}%"></i></span>'
    return f'<div class="k-reading">{"".join(parts)}<p class="k-sure">{bar}<span>{text}</span></p></div>'


def _chips(draft: Mapping[str, Any], model: Model, say: Words) -> Iterator[str]:
    """One chip for every attribute, then the other words."""
    for each in draft.get("attributes", ()):
        attribute, value = str(each["attribute"]), str(each["value"])
        sure = float(each.get("probability", 1)) >= DOUBT
        others = [model.word(attribute, other, say.language) for other in each.get("alternatives", ())]
        doubt = "" if sure or not others else f" <em>{escape(say('reading.or', others='・'.join(others[:2])))}</em>"
        word = escape(model.word(attribute, value, say.language))
        style = "k-chip" if sure else "k-chip k-doubt"
        yield f'<span class="{style}"><small>{escape(say.attribute(attribute))}</small>{word}{doubt}</span>'
    for word in (draft.get("subject"), *draft.get("extra", ()), *draft.get("quality", ())):
        if word:
            yield f'<span class="k-chip k-free">{escape(str(word))}</span>'


def _notes(draft: Mapping[str, Any], say: Words) -> Iterator[str]:
    mended = [each for each in draft.get("corrections", ()) if each.get("why") in MISTAKES]
    if mended:
        pairs = "、".join(f"<s>{escape(str(one['said']))}</s> → {escape(str(one['meant']))}" for one in mended)
        yield f'<p class="k-note">{escape(say("reading.mended"))} {pairs}</p>'
    if unread := [str(word) for word in draft.get("unread", ())]:
        yield f'<p class="k-note">{escape(say("reading.unread"))} {escape("、".join(unread))}</p>'
