"""What every panel is given, and how troubles are told."""

from dataclasses import dataclass

import streamlit as st

from components.errors import KyaraError
from serving.studio.client import Model, Service
from serving.studio.words import Words


@dataclass(frozen=True)
class Studio:
    """The service, what it serves, and the texts of the chosen language."""

    service: Service
    model: Model
    say: Words

    def tell(self, error: KyaraError, offered: str | None = None) -> None:
        """See `tell`."""
        tell(self.say, error, offered)

    def blank(self, key: str) -> None:
        """An empty sheet with a sentence where a picture will be."""
        st.html(f'<div class="k-empty"><p lang="{self.say.language}">{self.say(key)}</p></div>')


def tell(say: Words, error: KyaraError, offered: str | None = None) -> None:
    """A trouble as a sentence, what the service says of it, and what to do.

    Args:
        offered: key of the prompt that is replaced when one of the offered readings is chosen.
    """
    readings = offers(error.hint)
    hint = "" if readings else error.hint
    sentence = say.known(f"trouble.{error.code}", say("trouble.other"))
    details = f"{error.message} {hint}".strip()
    st.error(f"{sentence}\n\n{plain(details)}", icon=":material/error:")
    for reading in readings:
        st.button(plain(reading), key=f"once_offer_{reading}", on_click=_choose, args=(offered, reading))


def offers(hint: str) -> list[str]:
    """The readings that the service offers: the indented lines of its hint."""
    return [line.strip() for line in hint.splitlines() if line.startswith("  ")]


def _choose(key: str | None, reading: str) -> None:
    if key is not None:
        st.session_state[key] = reading
        st.session_state.pop(f"trouble:{key.partition('.')[0]}", None)


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]()<>#+-.!|$~:" else mark for mark in text)
