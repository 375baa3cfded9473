"""`kyara serve`: a Bento, or what the registry names, followed while it is served."""

import logging
import os

from components.errors import KyaraError, TrackingError
from components.settings import REPOSITORY, settings
from flows import package, server
from flows.ports import HOST
from flows.processes import child
from flows.promote import Promotion
from flows.pull import Pulled, Reference, pull
from flows.registry import recipe_of

logger = logging.getLogger("kyara")


def serve(what: str | None = None, port: int | None = None, host: str = HOST) -> int:
    """Serve until Ctrl-C or SIGTERM; the server's exit code.

    Args:
        what: a Bento's tag, or models:/NAME@ALIAS; default: KYARA_CHAMPION, then the champion's Bento.

    Raises:
        KyaraError: there is no such Bento or version, or the port is in use.
    """
    if what is None and settings().champion:
        reference = Reference.parse(str(settings().champion))
    elif what is not None and (what.startswith("models:/") or "@" in what):
        reference = Reference.parse(what)
    else:
        return server.serve(what, port, host)
    models = settings().models_dir
    tag = _bento(reference)
    environment = {**os.environ, "KYARA_HOME": str(settings().base_dir), "KYARA_MODELS": str(models)}
    follower = ["flows.cli", "pull", str(reference), "--follow"]
    with child(
        follower, log=settings().logs / f"pull_{reference.name}.log", environment=environment, folder=REPOSITORY
    ):
        return server.serve(tag, port, host, models)


def _bento(reference: Reference) -> str:
    """A Bento of what the registry names; while it does not answer, the one of what lies here already."""
    try:
        return bento_of(pull(reference))
    except TrackingError as error:
        try:
            here = package.champion_bento()
        except KyaraError:
            raise error from None
        if here.partition(":")[0] != reference.name:
            raise
        logger.warning("%s Serving %s, which lies here.", error, here)
        return here


def bento_of(pulled: Pulled) -> str:
    """The tag of a Bento of a pulled version, built where there is none, by the recipe that the registry holds."""
    labels = Promotion(pulled.version, pulled.folder, pulled.changed).labels
    return package.build(recipe_of(pulled.version), pulled.folder, labels)
