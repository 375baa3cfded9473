"""LoRAs as a choice of a request: by its field `loras`, or by `<lora:name:0.8>` in its prompt, from one folder.

They are set beside the weights of the one UNet and weighed there (peft, arXiv 2106.09685); nothing is merged, so that
the model without them is bit-equal to what it was, and another choice costs milliseconds. What runs converted networks
takes them up beside that (`fused.py`).
"""

import itertools
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from components.errors import RequestError
from components.image.families.bundle import Bundle, Condition
from components.image.generation.engine import Call, Engine
from components.image.generation.request import HEAVIEST_LORA, GenerateRequest
from components.settings import settings

KEPT = 8
"""LoRAs that stay loaded."""
_TAG = re.compile(r"\s*,?\s*<lora:([^<>:]*)(?::([^<>]*))?>", re.IGNORECASE)


class Lora(NamedTuple):
    """A file as it was when a request named it; another of the same name is another LoRA."""

    name: str
    file: Path
    changed: int
    size: int


Loras = tuple[tuple[Lora, float], ...]


def without_tags(request: GenerateRequest) -> GenerateRequest:
    """The request with the tags of its prompt in `loras`; a tag wins over the field.

    Raises:
        RequestError: a tag without a name, or with a weight that is none.
    """
    found = {match[1].strip(): _weight(match[0].strip(" ,"), match[2]) for match in _TAG.finditer(request.prompt)}
    if not found:
        return request
    text = _TAG.sub("", request.prompt).strip(" ,")
    return request.model_copy(update={"prompt": text, "loras": {**request.loras, **found}})


def tags(loras: Mapping[str, float]) -> str:
    """` <lora:name:0.8>` for each, as A1111 reads them."""
    return "".join(f" <lora:{name}:{weight:g}>" for name, weight in loras.items())


def known() -> dict[str, Path]:
    """Files by name: `<name>.safetensors` (kohya's or diffusers' form), or a folder `<name>` in peft's form."""
    folder = settings().loras_dir
    files = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    folders = {path.parent.name: path for path in sorted(folder.glob("*/adapter_model.safetensors"))}
    return {**folders, **files}


def find(name: str) -> Path:
    """The file of a name. Raises RequestError, which lists the known ones."""
    files = known()
    if name not in files:
        listed = ", ".join(list(files)[:20]) or "none yet"
        where = str(settings().loras_dir)
        raise RequestError(f"LoRA {name!r} is unknown.", hint=f"Known: {listed}; put files into {where!r}.")
    return files[name]


def chosen(weights: Mapping[str, float]) -> Loras:
    """The LoRAs of a request, in order. Raises RequestError for an unknown name."""
    return tuple((_stamped(name, find(name)), weight) for name, weight in weights.items())


def _stamped(name: str, file: Path) -> Lora:
    facts = file.stat()
    return Lora(name, file, facts.st_mtime_ns, facts.st_size)


@dataclass
class PlainEngine(Engine):
    """The model in plain torch: its UNet takes LoRAs, and whatever else a converted network cannot."""

    _names: dict[Lora, str] = field(default_factory=dict, repr=False)
    _partly: set[Lora] = field(default_factory=set, repr=False)
    _count: Iterator[int] = field(default_factory=itertools.count, repr=False)
    _active: Loras = ()

    @classmethod
    def of(cls, bundle: Bundle, parallel: int = 1) -> "PlainEngine":
        """An engine on the bundle itself; no weights are copied."""
        precision = {"unet": str(bundle.dtype).removeprefix("torch."), "vae": "float32"}
        return cls(bundle, "eager", precision, parallel=parallel)

    @contextmanager
    def using(self, loras: Loras = ()) -> Iterator[Bundle]:
        """The model alone for the block, with these LoRAs and no others. Raises RequestError for one that fails."""
        with self._lock:
            yield self._with(loras)

    def _with(self, loras: Loras) -> Bundle:
        """The model with these LoRAs and no others, for who holds the lock."""
        if loras != self._active:
            with warnings.catch_warnings():
                for note in ("Already found a `peft_config`", "Adapter .* was active which is now deleted"):
                    warnings.filterwarnings("ignore", message=note)  # several are meant, and going
                self._activate(loras)
        return self.bundle

    def deltas(self, loras: Loras) -> dict[str, Tensor]:
        """What these LoRAs add to the UNet's weights, by name of the module: float32, of the weight's own shape.

        Raises RequestError for one that does not fit, ValueError where it is more than a sum.
        """
        from peft.tuners.lora import LoraLayer

        with self.using(loras) as bundle:
            layers = {name: layer for name, layer in bundle.unet.named_modules() if isinstance(layer, LoraLayer)}
            return {name: added for name, layer in layers.items() if (added := _added(layer)) is not None}

    def partly(self, loras: Loras) -> list[str]:
        """One sentence for each of these, once loaded, of which only the UNet's part is used."""
        return [
            f"LoRA {lora.name!r} is used in part: the text encoder's is left out."
            for lora, _ in loras
            if lora in self._partly
        ]

    @torch.no_grad()
    def predict(
        self, latents: Tensor, t: Tensor, condition: Condition, guidance: Tensor | None = None, loras: Loras = ()
    ) -> Tensor:
        """As Bundle.predict, with these LoRAs and no others."""
        call = Call(latents, t, condition, guidance)

        def run(calls: Sequence[Call]) -> Sequence[Tensor]:
            return self.together(self._with(loras), calls)

        result: Tensor = self.steps((call.shape, loras), call, run)
        return result

    def _activate(self, loras: Loras) -> None:
        unet, self._active = self.bundle.unet, ()
        try:
            names = [self._load(lora) for lora, _ in loras]
            while len(self._names) > max(KEPT, len(names)):
                unet.delete_adapters(self._names.pop(next(iter(self._names))))
            if names:
                unet.set_adapters(names, [weight for _, weight in loras])
                unet.enable_adapters()
                self._active = loras
        finally:
            if not self._active and self._names:
                unet.disable_adapters()  # loading one switches it on, also where the next one fails

    def _load(self, lora: Lora) -> str:
        """The adapter's name in the UNet, loaded where it is not; the last used stands last."""
        name = self._names.pop(lora, None)
        if name is None:
            name = f"lora_{next(self._count)}"
            if not _add(self.bundle, lora, name):
                self._partly.add(lora)
        self._names[lora] = name
        return name


def _added(layer: Any) -> Tensor | None:
    """What the active LoRAs add to the weight of peft's `layer`; None: nothing."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or not names:
        return None
    if layer.lora_variant or any(layer.lora_bias.get(name) for name in names):
        raise ValueError("a LoRA changes more than weights")
    return torch.stack([layer.get_delta_weight(name).float().cpu() for name in names]).sum(0)


def _add(bundle: Bundle, lora: Lora, adapter: str) -> bool:
    """Load a LoRA beside the UNet's weights; whether that was all of it. Raises RequestError."""
    try:
        state, alphas = _read(bundle, lora.file)
        ours = {key: value for key, value in state.items() if key.startswith("unet.")}
        if not ours:
            raise ValueError("it holds no matrices for a UNet")
        bundle.unet.load_lora_adapter(ours, prefix="unet", network_alphas=alphas, adapter_name=adapter)
        bundle.unet.requires_grad_(False).eval()
    except Exception as error:  # a file from elsewhere fails in any way
        if adapter in getattr(bundle.unet, "peft_config", {}):
            bundle.unet.delete_adapters(adapter)
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RequestError(
            f"LoRA {lora.name!r} does not fit this model: {reason}.", hint="It must be made for this base."
        ) from error
    return len(ours) == len(state)


def _read(bundle: Bundle, file: Path) -> tuple[dict[str, Tensor], dict[str, float] | None]:
    """Matrices by `unet.<module>…`, and alphas."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
    from safetensors.torch import load_file

    config = file.with_name("adapter_config.json")
    if file.name == "adapter_model.safetensors" and config.is_file():
        facts = json.loads(config.read_text(encoding="utf-8"))
        state = {f"unet.{key.removeprefix('base_model.model.')}": value for key, value in load_file(file).items()}
        alphas = {
            key.replace(".lora_A.weight", ".alpha"): float(facts["lora_alpha"]) for key in state if "lora_A" in key
        }
        return state, alphas
    mixin: Any = StableDiffusionXLLoraLoaderMixin if bundle.family.name == "sdxl" else StableDiffusionLoraLoaderMixin
    state, alphas = mixin.lora_state_dict(load_file(file), unet_config=bundle.unet.config)
    return state, alphas


def _weight(tag: str, text: str | None) -> float:
    try:
        weight = float(text or 1.0)
    except ValueError:
        weight = float("nan")
    if tag.startswith("<lora::") or not abs(weight) <= HEAVIEST_LORA:
        raise RequestError(
            f"the tag {tag[:80]!r} is wrong.", hint=f"Expected <lora:name:weight>, a weight up to {HEAVIEST_LORA:g}."
        )
    return weight
