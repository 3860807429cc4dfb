"""Training: align the patch tokens of a frozen CLIP with its texts.

``python -m papers.pacl.train --variant pacl --seed 0`` trains one run; ``make reproduce`` trains them all.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from shared.loading import Batches, SampledDataset
from shared.run import Run

from .build import frozen_towers, new_embedder
from .config import Config
from .datasets import pairs
from .datasets.scene_features import ScenePairs, Scenes, load_scenes
from .losses import pacl_loss
from .towers.clip import Towers

BETAS, EPSILON = (0.9, 0.98), 1e-6  # AdamW (appendix, as one third party quotes it)


def train(config: Config, run: Run) -> None:
    """Train the vision embedder of one variant; leaves its weights, and the mini-CLIP's, in the run's folder."""
    scenes = None if config.data else load_scenes(config, run.cache)
    if scenes is not None and config.method in ("conse", "ridge"):
        run.export({f"clip.{name}": scenes.components[name] for name in ("mean", "components")})
        return
    if scenes is None and config.method == "clip-patch":
        run.export({})  # the towers are open_clip's own, and there is nothing to train on millions of pairs
        return
    towers = frozen_towers(config, run, scenes)
    frozen = {f"clip.{name}": x for name, x in towers.model.state_dict().items()} if scenes is not None else {}
    if config.method == "clip-patch":
        run.export(frozen)
        return
    dataset = training_pairs(config, run, towers, scenes)
    batches = Batches(dataset, config.batch_size, seed=run.seed, accelerator=run.accelerator, workers=config.workers)
    embedder = new_embedder(config, towers)
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
            tokens = towers.patch_tokens(batch["image"])[0] if scenes is None else batch["tokens"]
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


def training_pairs(config: Config, run: Run, towers: Towers, scenes: Scenes | None) -> SampledDataset:
    """Images with their texts below ``config.data``, or scenes, whose images come as the patch tokens (N, T, Dv)."""
    if scenes is None:
        root = Path(str(config.data))
        return pairs.read(root, run.cache, towers.preprocess, config.noun_prompts, config.noun_parser, config.pairs)
    tokens = torch.cat([towers.patch_tokens(x.to(run.device))[0].cpu() for x in scenes.features.split(256)])
    return ScenePairs(tokens, scenes.captions, config.noun_prompts, config.noun_parser)


if __name__ == "__main__":
    from shared.reproduce.train import train_one

    train_one(__package__)
