"""Notes of diffusers and transformers that say nothing about a user's model, dropped; every other warning is shown."""

import logging
import re

KNOWN = re.compile(
    "|".join(
        (
            # No picture processor is used: pictures are read with Pillow.
            r"`\w+` requires torchvision \(not installed\)",
            # A tiny autoencoder in a pipeline that is declared with a large one: diffusers' own documents do it.
            r"Expected types for vae: .*AutoencoderTiny",
            # The embedded base says its autoencoder's levels, which Bundle.scale reads.
            r"The config attributes \{'block_out_channels': .*\} were passed to AutoencoderTiny",
            # No loss is computed with a text encoder.
            r"`loss_type=None` was set in the config but it is unrecognized",
            # None are named: the list is empty.
            r"There are modules in \w+ that should be kept in float32: \[\]",
        )
    )
)


class _KnownNotes(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return KNOWN.match(record.getMessage()) is None


_filter = _KnownNotes()


def drop_known_notes() -> None:
    """Filter the handlers of both libraries, through which their loggers write; progress bars go, too."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for library in ("diffusers", "transformers"):
        for handler in logging.getLogger(library).handlers:
            handler.addFilter(_filter)
