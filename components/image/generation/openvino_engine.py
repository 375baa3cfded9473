"""A bundle whose networks run in OpenVINO: converted once, kept by digest, compiled for each shape that is asked."""

import contextlib
import copy
import hashlib
import json
import logging
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from components.artifact import replacing
from components.image.families.bundle import Bundle
from components.image.generation.engine import Decoder, Engine, Reference, accept
from components.settings import settings

logger = logging.getLogger("kyara")
BF16, F32, INT8 = "bfloat16", "float32", "int8"
_HINTS = {BF16: "bf16", F32: "f32", INT8: "f32"}
_CALIBRATION = 8
"""Pictures whose latents the decoder's int8 ranges are read from."""
_CALIBRATION_STEPS = 4
"""Of these pictures at most: rough ones have the same colours."""
_SHAPES_KEPT = 4
_CONVERSION = 3
"""Of this file: raised when networks are converted otherwise than before."""


class Network:
    """One converted network. Static shapes are the fastest on a CPU, so each gets a compilation; the last used stay."""

    def __init__(self, model: Any, precision: str, blobs: Path | None) -> None:
        self.model, self.precision, self.blobs = model, precision, blobs
        self._compiled: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Outputs for inputs in the network's own order; float32 or int64 on the CPU."""
        shapes = tuple(tuple(value.shape) for value in inputs)
        if shapes not in self._compiled:
            self._compiled[shapes] = self._compile(shapes)
            if len(self._compiled) > _SHAPES_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(shapes)
        results = self._compiled[shapes]([value.detach().contiguous().numpy() for value in inputs])
        return [torch.from_numpy(results[index]) for index in range(len(results))]

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        model = self.model.clone()
        model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS[self.precision]}
        if settings().threads:
            options["INFERENCE_NUM_THREADS"] = str(settings().threads)
        if self.blobs:
            options["CACHE_DIR"] = str(self.blobs)
        compiled = ov.Core().compile_model(model, "CPU", options)
        if self.blobs:
            # another process may be quicker, and Windows keeps files that are mapped into memory
            with contextlib.suppress(OSError):
                prune(self.blobs.parent.parent, settings().engine_cache_mib * 2**20, used=self.blobs.parent)
        return compiled


class UNet(nn.Module):
    """Stands in for a diffusers UNet; called as Bundle.predict calls it.

    Timesteps become waves out here: bfloat16 rounds t = 999 to 1000, which made most of a student's error.
    """

    def __init__(self, unet: Any, network: Network) -> None:
        super().__init__()
        self.config, self._waves, self._network = unet.config, unet.time_proj, network
        self.kind = nn.Parameter(torch.zeros(0), requires_grad=False)  # tells callers the dtype

    def forward(
        self, sample: Tensor, t: Tensor, encoder_hidden_states: Tensor, timestep_cond: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None, return_dict: bool = False,
    ) -> tuple[Tensor]:  # fmt: skip
        """The output [B, C, h, w] in a tuple."""
        extra = [*([] if timestep_cond is None else [timestep_cond]), *(added_cond_kwargs or {}).values()]
        return (self._network(sample, self._waves(t), encoder_hidden_states, *extra)[0],)


class TextOutput(NamedTuple):
    """Of transformers' output, what the families read: [0] and hidden_states[-2]."""

    first: Tensor
    hidden_states: tuple[Tensor, Tensor]


class TextEncoder(nn.Module):
    """Stands in for a CLIP text encoder."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def forward(self, input_ids: Tensor, output_hidden_states: bool = False) -> TextOutput:
        """Tokens [B, 77]."""
        first, penultimate, last = self._network(input_ids)
        return TextOutput(first, (penultimate, last))


def build_openvino(
    bundle: Bundle, reference: Reference, precision: str, max_error: float, cache_dir: Path | None
) -> Engine:
    """UNet and decoder in bfloat16 where their errors allow, the decoder in int8 where its does; texts in float32.

    A UNet in int8 strays by a quarter and gains little; a decoder takes a third of the time (post-training
    quantisation by NNCF, on processors with VNNI).
    """
    folder = None if cache_dir is None else cache_dir / network_digest(bundle)[:32]
    known = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    models = _models(bundle, reference, folder)
    low = BF16 if precision != F32 and "BF16" in known else F32
    chosen = {"unet": low, "vae": INT8 if precision == "auto" and "INT8" in known else low}
    if chosen["vae"] == INT8:
        models["vae_int8"] = _small_decoder(bundle, reference, models["vae"], folder)
    running = _running(bundle, models, chosen, folder)
    errors = reference.errors(running)
    if chosen["vae"] == INT8 and errors["picture"] > max_error:
        logger.info("VAE in int8 strays by %.3f (at most %.3f): %s", errors["picture"], max_error, low)
        chosen["vae"] = low
        running = _running(bundle, models, chosen, folder)
        errors = reference.errors(running)
    if low == BF16:
        kept = {
            "unet": accept(precision, "UNet", errors["latents"], max_error),
            "vae": chosen["vae"] == INT8 or accept(precision, "VAE", errors["picture"], max_error),
        }
        if not all(kept.values()):
            chosen = {part: chosen[part] if kept[part] else F32 for part in kept}
            running = _running(bundle, models, chosen, folder)
            errors = reference.errors(running)
    blobs = None if folder is None else folder / "blobs"

    def reweigh(added: Mapping[str, Tensor], precision: str) -> UNet:
        return UNet(bundle.unet, Network(_with_added(models["unet"], added), precision, blobs))

    return Engine(running, "openvino", chosen, errors, reweigh=reweigh)


def _with_added(model: Any, added: Mapping[str, Tensor]) -> Any:
    """A converted UNet with these added to its weights, by name of the module. Raises ValueError for an unknown one."""
    changed = model.clone()
    constants = {node.get_friendly_name(): node for node in changed.get_ops() if node.get_type_name() == "Constant"}
    for name, value in added.items():
        node = constants.get(f"self.unet.{name}.weight")
        if node is None or tuple(node.shape) != tuple(value.shape):
            raise ValueError(f"the converted network has no weight {name!r} of shape {tuple(value.shape)}")
        weight = ov.op.Constant(np.ascontiguousarray(node.data + value.numpy()))
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(weight.output(0))
    return changed


def network_digest(bundle: Bundle) -> str:
    """sha256 over weights and configs of all networks, and the versions that convert them."""
    state = hashlib.sha256(f"{_CONVERSION} {ov.__version__} {torch.__version__}".encode())
    for module in (bundle.unet, bundle.vae, *bundle.text_encoders):
        config = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
        state.update(json.dumps(config, sort_keys=True, default=str).encode())
        for name, value in module.state_dict().items():
            state.update(name.encode())
            state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def prune(cache_dir: Path, size: int, used: Path) -> None:
    """Keep the cache of all models at most `size` bytes: what was used longest ago goes first, never `used`'s networks.

    A compiled shape is a file of `<digest>/blobs`, a model's converted networks are the folder `<digest>/networks`, its
    quantised decoder is `<digest>/int8`.
    """
    entries = (*cache_dir.glob("*/blobs/*"), *cache_dir.glob("*/networks"), *cache_dir.glob("*/int8"))
    sizes = {path: sum(file.stat().st_size for file in _files(path)) for path in sorted(entries, key=_last_use)}
    total = sum(sizes.values())
    for path, freed in sizes.items():
        if total <= size:
            return
        if path in (used / "networks", used / "int8"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        total -= freed


def _last_use(path: Path) -> float:
    """Seconds since the epoch; of a folder its files', because listing a folder counts as a use of it."""
    return max((max(file.stat().st_atime, file.stat().st_mtime) for file in _files(path)), default=0.0)


def _files(path: Path) -> list[Path]:
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]


def _running(bundle: Bundle, models: dict[str, Any], precision: dict[str, str], folder: Path | None) -> Bundle:
    blobs = None if folder is None else folder / "blobs"
    texts = tuple(
        TextEncoder(Network(models[f"text_{index}"], F32, blobs)) for index in range(len(bundle.text_encoders))
    )
    decoder = Network(models["vae_int8" if precision["vae"] == INT8 else "vae"], precision["vae"], blobs)
    return replace(
        bundle,
        unet=UNet(bundle.unet, Network(models["unet"], precision["unet"], blobs)),
        vae=Decoder(bundle.vae, lambda latents: decoder(latents)[0]),
        text_encoders=texts,
    )


def _models(bundle: Bundle, reference: Reference, folder: Path | None) -> dict[str, Any]:
    """Converted networks by name, from the folder where they lie there."""
    names = ["unet", "vae", *(f"text_{index}" for index in range(len(bundle.text_encoders)))]
    return _kept(names, lambda: _convert(bundle, reference), folder and folder / "networks")


def _small_decoder(bundle: Bundle, reference: Reference, decoder: Any, folder: Path | None) -> Any:
    """The decoder in int8, kept beside the converted networks."""
    made = _kept(["vae"], lambda: iter([_quantized(decoder, _drawn(bundle, reference))]), folder and folder / "int8")
    return made["vae"]


def _kept(names: Sequence[str], make: Callable[[], Iterator[Any]], kept: Path | None) -> dict[str, Any]:
    """Networks by name, from the folder where they lie there; else made, and kept."""
    if kept is not None and kept.is_dir():
        try:
            return {name: ov.Core().read_model(kept / f"{name}.xml") for name in names}
        except RuntimeError as error:
            logger.warning("the kept networks in %s are damaged and are converted again: %s", kept, error)
    models = dict(zip(names, make(), strict=True))
    if kept is not None:
        with replacing(kept) as temporary:
            temporary.mkdir()
            for name, model in models.items():
                ov.save_model(model, temporary / f"{name}.xml", compress_to_fp16=False)
    return models


def _convert(bundle: Bundle, reference: Reference) -> Iterator[Any]:
    """UNet, decoder, text encoders, in float32."""
    condition = bundle.encode_prompts([reference.prompt])
    added = bundle.family.added(bundle, condition, reference.noise) or {}
    dimensions = getattr(bundle.unet.config, "time_cond_proj_dim", None)
    example = [
        reference.noise,
        bundle.unet.time_proj(torch.ones(1)),
        condition.hidden,
        *([torch.zeros(1, dimensions)] if dimensions else []),
        *added.values(),
    ]
    yield _trace(_UNetCall(bundle.unet, bool(dimensions), tuple(added)), example)
    yield _trace(_DecodeCall(bundle.vae), [reference.latents])
    for encoder, tokenizer in zip(bundle.text_encoders, bundle.tokenizers, strict=True):
        ids = tokenizer(
            ["a"], padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
        ).input_ids
        yield _trace(_TextCall(encoder), [ids])


def _drawn(bundle: Bundle, reference: Reference) -> list[Tensor]:
    """Latents of a few pictures, each [1, C, h, w]."""
    steps = min(reference.steps, _CALIBRATION_STEPS)
    others = [
        replace(reference, steps=steps, noise=torch.randn(reference.noise.shape, generator=_seeded(seed)))
        for seed in range(1, _CALIBRATION)
    ]
    return [reference.latents, *(other.drawn(bundle) for other in others)]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _quantized(model: Any, latents: list[Tensor]) -> Any:
    """`model` after post-training quantisation, its ranges read from `latents`.

    NNCF's fast bias correction is no help here: an error of 8 % where the whole one leaves 1 %.
    """
    import nncf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level would turn down everybody's handlers
        data = nncf.Dataset([value.detach().cpu().float().numpy() for value in latents])
        return nncf.quantize(model, data, subset_size=len(latents), fast_bias_correction=False)


def _trace(module: nn.Module, example: list[Tensor]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about Python values in diffusers' shape checks
        return ov.convert_model(module.eval(), example_input=tuple(example))


class _UNetCall(nn.Module):
    """Plain tensors in a fixed order instead of diffusers' keywords; the timestep as waves [B, C]."""

    def __init__(self, unet: nn.Module, guided: bool, added: tuple[str, ...]) -> None:
        super().__init__()
        taking_waves: Any = copy.copy(unet)
        taking_waves.get_time_embed = lambda sample, timestep: timestep
        self.unet = taking_waves
        self.guided, self.added = guided, added

    def forward(self, sample: Tensor, waves: Tensor, hidden: Tensor, *extra: Tensor) -> Tensor:
        rest = list(extra)
        guidance = rest.pop(0) if self.guided else None
        added = dict(zip(self.added, rest, strict=True)) or None
        output: Tensor = self.unet(
            sample,
            waves,
            encoder_hidden_states=hidden,
            timestep_cond=guidance,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return output


class _DecodeCall(nn.Module):
    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae: Any = vae

    def forward(self, latents: Tensor) -> Tensor:
        sample: Tensor = self.vae.decode(latents).sample
        return sample


class _TextCall(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.encoder(input_ids, output_hidden_states=True)
        return output[0], output.hidden_states[-2], output.hidden_states[-1]
