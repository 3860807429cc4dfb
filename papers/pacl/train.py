"""Training: align the patch tokens of a frozen CLIP with its texts.

``python -m papers.pacl.train --variant pacl --seed 0`` trains one run; ``make reproduce`` trains them all.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from shared.loading import Batches, SampledDataset
from shared.run import Run
from shared.support.weights import load_weights

from . import pairs
from .config import Config
from .data import ScenePairs, load_scenes, stored_file
from .losses import pacl_loss
from .miniclip import MiniCLIP, MiniCLIPTowers, trained_mini_clip
from .model import VisionEmbedder
from .packaged import UntrainedTowers
from .towers import OpenCLIPTowers, Towers

BETAS, EPSILON = (0.9, 0.98), 1e-6  # of AdamW (appendix, as one third party quotes it)


def train(config: Config, run: Run) -> None:
    """Train the vision embedder of one variant; leaves its weights, and the mini-CLIP's, in the run's folder."""
    if config.method in ("conse", "ridge"):
        components = load_scenes(config, run.cache).components
        run.export({f"clip.{name}": components[name] for name in ("mean", "components")})
        return
    if config.method == "clip-patch" and config.data:
        run.export({})  # the towers are open_clip's own, and there is nothing to train on millions of pairs
        return
    towers, dataset = frozen_towers(config, run)
    frozen = {f"clip.{name}": x for name, x in towers.model.state_dict().items()} if config.data is None else {}
    if config.method == "clip-patch":
        run.export(frozen)
        return
    batches = Batches(dataset, config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)
    embedder = VisionEmbedder(towers.width, towers.joint, config.embedder)
    optimizer = torch.optim.AdamW(
        embedder.parameters(),
        lr=config.learning_rate,
        betas=BETAS,
        eps=EPSILON,
        weight_decay=config.weight_decay,
        fused=True,
    )
    steps = config.epochs * (len(dataset) // config.batch_size)
    schedule = CosineAnnealingLR(optimizer, steps)
    embedder, optimizer = run.accelerator.prepare(embedder, optimizer)
    logit_scale = config.logit_scale or towers.logit_scale

    for step in run.steps(
        steps,
        save_every=config.save_every,
        model=embedder,
        optimizer=optimizer,
        schedule=schedule,
        batches=batches,
    ):
        batch = next(batches)
        with run.accelerator.autocast():
            # Without augmentation the tokens of a frozen tower are always the same: scenes come as tokens.
            tokens = batch["tokens"] if config.data is None else towers.patch_tokens(batch["image"])[0]
            # Unit vectors, as class embeddings at inference: their norm would sharpen the weights in training alone.
            text = F.normalize(towers.encode_text(batch["text"]), dim=-1)
            loss = pacl_loss(
                embedder(tokens),
                text,
                logit_scale,
                pooling=config.pooling,
                weighting=config.weighting,
                attn_scale=config.attn_scale,
                gather=run.accelerator.num_processes > 1,
                chunk=config.chunk,
            )
        run.log(step, loss=loss, samples=batch["name"])
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
        schedule.step()
    trained = run.accelerator.unwrap_model(embedder).state_dict()
    run.export(frozen | {f"embedder.{name}": x for name, x in trained.items()})


def frozen_towers(config: Config, run: Run) -> tuple[Towers, SampledDataset]:
    """The frozen image-text model, and the training pairs that suit it."""
    if config.data:
        towers = OpenCLIPTowers(config.clip, config.clip_weights).to(run.device)
        return towers, pairs.read(
            Path(config.data), run.cache, towers.preprocess, config.noun_prompts, config.noun_parser
        )
    data = load_scenes(config, run.cache)
    mini = MiniCLIPTowers(trained_mini_clip(config, run, data), config.scene_size, data.sentences)
    tokens = torch.cat([mini.patch_tokens(x.to(run.device))[0].cpu() for x in data.features.split(256)])
    return mini, ScenePairs(tokens, data.captions, config.noun_prompts, config.noun_parser)


def load_model(config: Config, cache: Path, weights: Path) -> tuple[Towers, VisionEmbedder | None]:
    """The frozen towers and the trained embedder of a run, for evaluation and prediction; None where none is trained.

    Args:
        cache: of the preset's runs; has the embeddings of known texts, and may be missing.
        weights: what :func:`train` left.
    """
    parts: dict[str, dict[str, Tensor]] = {"clip": {}, "embedder": {}}
    for name, x in load_weights(weights).items():
        part, _, rest = name.partition(".")
        parts[part][rest] = x
    towers: Towers
    if config.data:
        towers = OpenCLIPTowers(config.clip, config.clip_weights)
    else:
        known = load_scenes(config, cache).sentences if stored_file(config, cache).exists() else {}
        if config.method in ("conse", "ridge"):
            return UntrainedTowers(config.method, parts["clip"], config.scene_size, known), None
        model = MiniCLIP.shaped_like(parts["clip"])
        model.load_state_dict(parts["clip"])
        towers = MiniCLIPTowers(model, config.scene_size, known)
    if config.method == "clip-patch":
        return towers, None
    embedder = VisionEmbedder(towers.width, towers.joint, config.embedder)
    embedder.load_state_dict(parts["embedder"])
    return towers, embedder.requires_grad_(False).eval()


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
