"""How a prompt was read, in lines for a terminal."""

from components.prompting.rendering import rendered
from components.prompting.schema import RobustPrompt


def describe(prompt: RobustPrompt) -> list[str]:
    """Layers, corrections and confidence in lines for a terminal."""
    draft = prompt.draft
    lines = [f"prompt      {rendered(prompt)}"]
    for reading in draft.attributes:
        doubt = f"  or {', '.join(reading.alternatives)}" if reading.alternatives else ""
        lines.append(f"  {reading.attribute:<14}{reading.value:<9}{reading.probability:.2f}  {reading.said!r}{doubt}")
    for name in ("subject", "extra", "quality", "negative", "unread"):
        value = getattr(draft, name)
        if value:
            lines.append(f"{name:<12}{value if isinstance(value, str) else ', '.join(value)}")
    lines += [f"corrected   {item.said!r} -> {item.meant!r} ({item.why})" for item in draft.corrections]
    origin = prompt.provenance
    told = [origin.client, origin.model, *(["from the cache"] if origin.cached else [])]
    told += ["asked twice"] if origin.repaired else []
    lines.append(f"read by     {', '.join(dict.fromkeys(told))}")
    if origin.fallback:
        lines.append(f"because     {origin.fallback}")
    return [*lines, f"confidence  {prompt.confidence:.2f}"]
