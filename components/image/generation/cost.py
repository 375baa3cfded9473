"""What a request costs, known before anything is drawn, and the bound on it."""

from components.errors import RequestError
from components.settings import settings


def cost(*, steps: int, area: float, chunks: int = 1, compares: bool = False, controls: int = 0) -> float:
    """Steps x area x chunks: 1 is one pass through the UNet at the model's own size, with a prompt of up to 75 tokens.

    Args:
        area: of the picture, over that of the model's own size.
        chunks: of the text encoder's length that the prompt needs.
        compares: whether guidance asks the model twice a step.
        controls: ControlNets that are asked each time; one costs half of what the UNet does.
    """
    return steps * area * chunks * (2 if compares else 1) * (1 + controls / 2)


def check_cost(value: float) -> None:
    """Raise RequestError where a request costs more than the settings allow."""
    limit = settings().request_cost
    if value > limit:
        raise RequestError(
            f"the request costs {value:.0f} (steps x area x chunks of 75 tokens, twice with guidance, half more a "
            f"control): expected at most {limit:g}.",
            hint="Ask for fewer steps, a smaller picture or a shorter prompt; KYARA_REQUEST_COST is the limit.",
        )
