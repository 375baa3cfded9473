"""Classifier-free guidance (arXiv 2207.12598) of one request: what is used, and what then has no effect."""

from dataclasses import dataclass

from components.image.families.bundle import Bundle


@dataclass(frozen=True)
class Guidance:
    """`scale` is what is used: 1 asks the model once, without a negative prompt. `asked` None: the model's own.

    `embedded`: a student that takes the scale as an input, within the range it was distilled on (LCM, section 4.2).
    """

    asked: float | None
    scale: float
    embedded: bool = False

    @classmethod
    def of(cls, bundle: Bundle, asked: float | None) -> "Guidance":
        """What `bundle` makes of an asked scale. An LCM-LoRA has its guidance in its weights: its own scale is 1."""
        if getattr(bundle.unet.config, "time_cond_proj_dim", None) is None:
            return cls(asked, max(asked or 1.0, 1.0))
        low, high = bundle.lcm["guidance_range"]
        return cls(asked, float(bundle.lcm["guidance"]) if asked is None else min(max(asked, low), high), embedded=True)

    @property
    def compares(self) -> bool:
        """Whether the model is asked twice, with the prompt and with the negative one."""
        return not self.embedded and self.scale > 1

    def warnings(self, negative: str) -> list[str]:
        """One sentence for each value of the request that changes nothing, or something else than asked."""
        found = []
        if self.asked is not None and self.asked != self.scale:
            found.append(
                f"guidance_scale {self.asked:g} was drawn as {self.scale:g}, the nearest that this model knows."
            )
        if negative.strip() and self.embedded:
            found.append("negative_prompt has no effect: this model has its guidance built in.")
        elif negative.strip() and not self.compares:
            found.append("negative_prompt has no effect at guidance 1: ask for a guidance_scale above 1.")
        return found
