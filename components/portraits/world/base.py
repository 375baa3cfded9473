"""The embedded base model: a Stable Diffusion of 11 M parameters at 128x128, trained from scratch on captioned renders.

Shape, chosen by arithmetic on two cores (train step of batch 32; forward a sample at batch 16; batches of 2 and 1):

    (96, 192, 192), 16x16x16 (f8), attention below 16x16        15.0 M   0.92 s   10.0 ms   42 / 26 ms
    (96, 192, 192), 16x16x16, attention everywhere              15.7 M   1.28 s   13.6 ms   47 / 33 ms
    (32, 96, 192), 32x32x4 (f4), attention from 16x16 down       9.2 M   1.48 s   15.2 ms   47 / 30 ms
    (32, 64, 128, 192), 32x32x4, attention from 16x16 down      11.1 M   0.89 s   11.0 ms   42 / 25 ms   <- this one

At 32x32 attention costs more than all convolutions together, and has little to do: the words act at 16x16, 8x8 and 4x4.
So f4, whose autoencoder is far easier to learn, costs no more than f8. Mind that `attention_head_dim` of
`UNet2DConditionModel` is the *number* of heads: 32 of them, 3 wide, made the third line 2.3 s.

v-prediction with zero terminal SNR (arXiv 2305.08891), trailing timesteps, the loss weighted as a LoRA's.
"""

import copy
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from components.artifact import replacing
from components.image.families.schedule import NoiseSchedule
from components.image.train import min_snr_weight
from components.portraits.vocabulary import ATTRIBUTES
from components.portraits.world.autoencoder import LATENT_CHANNELS
from components.portraits.world.captions import told_caption
from components.portraits.world.judge_training import HEADS as LABELS
from components.portraits.world.judge_training import UNKNOWN, labels
from components.portraits.world.loss_weights import face_share, weight_maps
from components.portraits.world.renders import Portrait
from components.portraits.world.training import Budget, Training, placed
from components.training.optimizers import muon_and_adam
from components.training.schedules import held
from components.training.speed import autocast, plain_attention

CHANNELS = (32, 64, 128, 192)
HEADS = 4
TEXT_WIDTH = 160
TEXT_LAYERS = 2
TOKENS = 77
EMPTY_SHARE = 0.1
UNNAMED_STYLE_SHARE = 0.1
SHORT_SHARE = 0.25
"""Of captions that tell one or two attributes."""
MIN_SNR = 5.0
NOISE_SHARES = ((0.15, 0.93, 1.0), (0.45, 0.55, 0.93), (0.4, 0.0, 1.0))
"""Share of a batch whose timesteps are drawn from a part of the schedule (from, to): where words decide the picture.

Flat shapes of hundreds of equal pixels are seen through noise up to an SNR near 0.001, so only beyond that does a model
need the words for place, tilt and side; a mouth or an earring (squared distance 5 to 40 in latents) is seen from an SNR
near 0.1 on. Drawn evenly, position, tilt and side were no better than chance after 4,360 steps; with more at the end
only, expression was not after 6,000 (0.42 right). With these and `weight_maps`, 2,900 further steps made it 0.79.
"""
READING_WEIGHT = 0.2
"""Of the reader's cross-entropy beside the picture's loss."""
SKETCH_WEIGHT = 0.1
"""Of the sketch's loss."""
_SHARD = "14MB"


def make_unet(
    latent_channels: int = LATENT_CHANNELS, channels: Sequence[int] = CHANNELS, size: int = 32, groups: int = 16
) -> UNet2DConditionModel:
    """An untrained UNet that attends everywhere but at its highest resolution."""
    deeper = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(channels),
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * deeper,
        up_block_types=("CrossAttnUpBlock2D",) * deeper + ("UpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=groups,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text encoder for `tokenizer`, trained together with the UNet."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, rescaled to end in pure noise."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def make_tokenizer(texts: Iterable[str], words: int = 1000) -> CLIPTokenizer:
    """CLIP's byte-level BPE learnt on `texts`. All 256 bytes are in it, so any text has tokens."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = CLIPTokenizer()._tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=words + 512,
            min_frequency=20,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    vocabulary = {
        piece: index for index, piece in enumerate([*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"])
    }
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TOKENS)


def tokens(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids int64 [N, 77], padded and cut as the pipelines do it."""
    ids: Tensor = tokenizer(
        list(texts), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def sample_captions(portraits: Sequence[Portrait], rng: random.Random) -> list[str]:
    """A fresh caption of each portrait; some are empty (guidance needs them), some leave the style unsaid."""
    return [text for text, _ in sample_told(portraits, rng)]


def sample_told(portraits: Sequence[Portrait], rng: random.Random) -> list[tuple[str, dict[str, str]]]:
    """As `sample_captions`, each with the attributes that it tells."""

    def one(portrait: Portrait) -> tuple[str, dict[str, str]]:
        if rng.random() < EMPTY_SHARE:
            return "", {}
        style_word = None if rng.random() < UNNAMED_STYLE_SHARE else portrait.style
        return told_caption(portrait, rng, style_word=style_word, short=rng.random() < SHORT_SHARE)

    return [one(portrait) for portrait in portraits]


def spread_timesteps(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Timesteps [count] in [0, steps), stratified within each of `NOISE_SHARES`: a quieter gradient than free draws."""
    counts = [round(share * count) for share, _, _ in NOISE_SHARES[:-1]]
    counts.append(count - sum(counts))
    parts = [
        start + (end - start) * _even(part, generator)
        for part, (_, start, end) in zip(counts, NOISE_SHARES, strict=True)
    ]
    return (torch.cat(parts) * steps).long().clamp(max=steps - 1)


def _even(count: int, generator: torch.Generator) -> Tensor:
    """One draw from each of `count` equal parts of [0, 1)."""
    return (torch.arange(count) + torch.rand(count, generator=generator)) / max(count, 1)


def diffusion_loss(
    unet: UNet2DConditionModel,
    schedule: NoiseSchedule,
    latents: Tensor,
    context: Tensor,
    generator: torch.Generator,
    weights: Tensor | float = 1.0,
) -> Tensor:
    """Weighted mean squared error of v = alpha eps - sigma x0; latents [N, C, h, w], context [N, 77, width].

    `weights` weighs the pixels, [N, 1, h, w].
    """
    timesteps = spread_timesteps(len(latents), len(schedule), generator).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = schedule.add_noise(latents, noise, timesteps).contiguous(memory_format=torch.channels_last)
    predicted = unet(noisy, timesteps, encoder_hidden_states=context).sample
    error = (predicted.float() - schedule.target(latents, noise, timesteps)).square()
    error = (error * weights).mean((1, 2, 3))
    loss: Tensor = (error * min_snr_weight(schedule, timesteps, MIN_SNR)).mean()
    return loss


class Reader(nn.Module):
    """Reads the attributes off the text encoder's output, as the UNet has to: by attention over the tokens.

    Trained beside the UNet and thrown away. To the picture's loss a smile or a side is a few pixels, so for thousands
    of steps the text encoder has no reason to tell `left` from `right` (their hidden states were 5 % apart after 4,360
    steps), and while it does not, the UNet cannot learn what they mean.
    """

    def __init__(self, width: int = TEXT_WIDTH) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(ATTRIBUTES), width) / width**0.5)
        self.values = nn.ModuleList([nn.Linear(width, len(values)) for values in ATTRIBUTES.values()])

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Logits [N, values] of each attribute from hidden states [N, T, width]."""
        weights = (hidden @ self.queries.T / hidden.shape[-1] ** 0.5).softmax(dim=1)
        pooled = torch.einsum("nta,ntw->anw", weights, hidden)
        return [head(part) for head, part in zip(self.values, pooled, strict=True)]

    def loss(self, hidden: Tensor, told: Sequence[Mapping[str, str]]) -> Tensor:
        """Mean cross-entropy over the attributes that the captions tell."""
        terms = []
        for logits, (name, values) in zip(self(hidden), ATTRIBUTES.items(), strict=True):
            wanted = [values.index(row[name]) if name in row else -100 for row in told]
            target = torch.tensor(wanted, device=hidden.device)
            terms.append(nn.functional.cross_entropy(logits.float(), target, ignore_index=-100, reduction="sum"))
        return torch.stack(terms).sum() / max(sum(map(len, told)), 1)


class Sketch(nn.Module):
    """What the UNet's hidden features should know of the clean picture; trained beside it and thrown away.

    A network learns to draw sooner when its features are brought near those of a network that understands clean
    pictures (arXiv 2410.06940; for UNets 2503.18414). Here the renderer itself says what is to be understood: every
    attribute, from the middle of the UNet, and where the small parts of the face are, from the features before its
    last block.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        widths = unet.config.block_out_channels
        cells = (unet.config.sample_size // 2 ** (len(widths) - 1)) ** 2
        self.norm = nn.GroupNorm(1, widths[-1])
        self.values = nn.ModuleList([nn.Linear(cells * widths[-1], len(values)) for values in LABELS.values()])
        self.places = nn.Conv2d(widths[1], 1, 1)
        self._seen: dict[str, Tensor] = {}

    def watch(self, unet: UNet2DConditionModel) -> None:
        """Keep the features of every forward pass until `loss` asks for them."""
        for name, module in (("middle", unet.mid_block), ("late", unet.up_blocks[-2])):
            module.register_forward_hook(lambda _, __, output, name=name: self._seen.__setitem__(name, output))

    def loss(self, answers: Tensor, share: Tensor) -> Tensor:
        """Cross-entropies of the attributes [N, heads] and of the face's places [N, 1, h, w]."""
        middle = self.norm(self._seen.pop("middle").float()).flatten(1)
        terms = [
            nn.functional.cross_entropy(head(middle).float(), wanted, ignore_index=UNKNOWN, reduction="sum")
            for head, wanted in zip(self.values, answers.unbind(1), strict=True)
        ]
        known = (answers != UNKNOWN).sum().clamp_min(1)
        found = self.places(self._seen.pop("late")).float()
        return torch.stack(terms).sum() / known + nn.functional.binary_cross_entropy_with_logits(found, share)


class Networks(nn.Module):
    """What is trained together; reader and sketch are not exported."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.reader = unet, text_encoder, Reader(text_encoder.config.hidden_size)
        self.sketch = Sketch(unet)


def joint_loss(
    networks: Networks,
    tokenizer: CLIPTokenizer,
    schedule: NoiseSchedule,
    latents: Tensor,
    told: Sequence[tuple[str, Mapping[str, str]]],
    generator: torch.Generator,
    weights: Tensor | float = 1.0,
    sketched: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The picture's loss and the reader's; latents [N, C, h, w], and of each its caption and what that tells.

    `sketched`: what `Sketch.loss` asks for, where the networks' sketch watches.
    """
    texts, attributes = [text for text, _ in told], [row for _, row in told]
    context = networks.text_encoder(tokens(tokenizer, texts).to(latents.device)).last_hidden_state
    drawing = diffusion_loss(networks.unet, schedule, latents, context, generator, weights)
    loss = drawing + READING_WEIGHT * networks.reader.loss(context, attributes)
    return loss if sketched is None else loss + SKETCH_WEIGHT * networks.sketch.loss(*sketched)


def train_base(
    latents: Tensor,
    faces: Tensor,
    portraits: Sequence[Portrait],
    autoencoder: AutoencoderTiny,
    folder: Path,
    budget: Budget,
    *,
    device: str = "cpu",
    batch: int = 48,
    learning_rate: float = 1e-3,
    start: Path | None = None,
    make: Callable[[], UNet2DConditionModel] = make_unet,
    out: Path | None = None,
    export_every: float = 900.0,
    report: Callable[[str], None] = print,
    report_every: int = 50,
) -> Path:
    """Train on cached `latents` [N, C, h, w] with fresh captions each step; resumes from `folder`.

    Args:
        faces: where the small parts of each face are, uint8 [N, 32, 32].
        start: a diffusers folder to go on from (warm start); a UNet for other latents is made anew, the words are kept.
        out: where the averaged weights go, every `export_every` seconds and at the end; default `folder/model`.

    Returns: the exported diffusers folder.
    """
    torch.manual_seed(0)
    out = out or folder / "model"
    tokenizer, networks = _start(portraits, start, make, latents.shape[1])
    placed(networks, device).train()
    schedule = NoiseSchedule.from_config(make_scheduler().config)
    size = latents.shape[-1]
    weights = weight_maps(faces, size)
    answers = torch.stack([*labels(portraits).values()], 1)
    networks.text_encoder.set_attn_implementation("eager")
    networks.sketch.watch(networks.unet)
    training = Training(networks, muon_and_adam(networks, learning_rate, learning_rate), budget, folder, schedule=held)

    def loss(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        told = sample_told([portraits[i] for i in chosen.tolist()], random.Random(int(generator.initial_seed())))
        with autocast(torch.device(device)):
            shown, look = latents[chosen].to(device).float(), weights[chosen].to(device)
            sketched = answers[chosen].to(device), face_share(faces[chosen], size).to(device)
            return joint_loss(networks, tokenizer, schedule, shown, told, generator, look, sketched)

    exported = training.seconds
    with plain_attention(networks.unet, torch.device(device)):
        for step in training.steps(loss):
            if step % report_every == 0:
                report(f"base: {training.line()}")
            if training.seconds - exported > export_every:
                exported = training.seconds
                export(out, training.average.weights, networks, autoencoder, tokenizer)
    return export(out, training.average.weights, networks, autoencoder, tokenizer)


def _start(
    portraits: Sequence[Portrait], start: Path | None, make: Callable[[], UNet2DConditionModel], channels: int
) -> tuple[CLIPTokenizer, Networks]:
    if start is not None:
        tokenizer = CLIPTokenizer.from_pretrained(start / "tokenizer")
        unet = UNet2DConditionModel.from_pretrained(start / "unet")
        unet = unet if unet.config.in_channels == channels else make()
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder")
        return tokenizer, Networks(unet.float(), text_encoder.float())
    rng = random.Random(0)
    tokenizer = make_tokenizer(text for _ in range(3) for text in sample_captions(portraits, rng))
    return tokenizer, Networks(make(), make_text_encoder(tokenizer))


def export(
    out: Path, weights: dict[str, Tensor], networks: Networks, autoencoder: AutoencoderTiny, tokenizer: CLIPTokenizer
) -> Path:
    """Write a folder for `StableDiffusionPipeline.from_pretrained`: fp16, files below 14 MB, swapped in whole."""
    averaged = copy.deepcopy(networks).cpu()
    averaged.load_state_dict(weights)
    pipeline = StableDiffusionPipeline(
        vae=copy.deepcopy(autoencoder).cpu().half(),
        text_encoder=averaged.text_encoder.half(),
        tokenizer=tokenizer,
        unet=averaged.unet.half(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with replacing(out) as fresh:
        pipeline.save_pretrained(fresh, safe_serialization=True, max_shard_size=_SHARD)
        for config in fresh.glob("*/config.json"):
            known = json.loads(config.read_text(encoding="utf-8"))
            known.pop("_name_or_path", None)  # where the weights came from on this machine is nobody's business
            config.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return out
