"""Pre-training and fine-tuning with the real loops, in small: encoders, stages, stops, weights handed over, rates."""

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file
from torch import Tensor

from papers.fastmim import data as data_module
from papers.fastmim import eval as evaluation
from papers.fastmim import train as train_module
from papers.fastmim.build import build_classifier, build_pretraining, pretrained_weights
from papers.fastmim.claims import CLAIMS, SIMILAR, SIMILAR_IMAGENET
from papers.fastmim.config import PRESETS, VARIANTS, Config
from papers.fastmim.data import Data, Labelled, load, prepare
from papers.fastmim.datasets.imagenet import Photos
from papers.fastmim.encoders.official import HEADS, load_official
from papers.fastmim.encoders.vit import stretch_positions
from papers.fastmim.masking import Noised
from papers.fastmim.optim import accumulation, learning_rate
from papers.fastmim.progressive import resize, stages
from papers.fastmim.train import finetune, pretrain, train
from shared import UserError
from shared.run import Interrupted, Run
from shared.support.weights import load_checkpoint

IMAGES, SEED = 48, 3
# Three steps of pre-training an epoch, two of fine-tuning.
VIT = replace(
    PRESETS["smoke"],
    labels=16,
    widths=(16,),
    depths=(4,),
    heads=(2,),
    decoder_width=16,
    batch_size=16,
    micro_batch_size=16,
    epochs=(2,),
    warmup_epochs=0.5,
    finetune_batch_size=8,
    finetune_micro_batch_size=8,
    finetune_epochs=2,
    finetune_warmup_epochs=0.5,
    save_every=4,
)
ENCODERS = {
    "vit": VIT,
    "swin": replace(
        VIT, encoder="swin", patch_size=2, widths=(8,), depths=(2, 2, 2), heads=(1, 2, 2), block=8, decoder_width=32
    ),
    "pvtv2": replace(
        VIT,
        encoder="pvtv2",
        patch_size=2,
        widths=(8, 16, 32),
        depths=(1, 1, 2),
        heads=(1, 2, 2),
        mlp_ratios=(4, 4, 4),
        reductions=(4, 2, 1),
        block=8,
        decoder_width=32,
    ),
    "cmt": replace(
        VIT,
        encoder="cmt",
        widths=(16, 32),
        depths=(1, 2),
        heads=(1, 2),
        reductions=(2, 1),
        block=8,
        decoder_width=32,
    ),
}
# Six steps at 16 pixels, three at 32, four of fine-tuning, with everything that draws random numbers.
GROWING: dict[str, Any] = {"resolutions": (16, 32), "epochs": (2, 1), "drop_path": 0.3, "mixup": 0.8, "cutmix": 1.0}
BORDER, PRETRAINED, TOTAL = 6, 9, 13


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The first of the offline digits; the scenes, which take long to make, stay empty."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_module.scenes, "build", lambda: {"pretrain": np.zeros((1, 3, 2, 2), np.uint8)})
        prepare(VIT, cache)
    found = load(VIT, cache)
    return replace(found, pretrain=found.pretrain[:IMAGES])


@pytest.fixture(autouse=True)
def _surroundings(digits: Data, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``train`` finds the few digits; a Run takes SIGTERM over, and pytest gets it back."""
    monkeypatch.setattr(train_module, "load", lambda config, cache: digits)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Watched(Run):
    """A run that lets a test see its networks, gradients and learning rates; SIGTERM or a crash at a given step."""

    def __init__(self, folder: Path, *, sigterm: int = -1, crash: int = -1) -> None:
        super().__init__(folder, folder / "cache", seed=SEED, log_every=1)
        self.sigterm, self.crash = sigterm, crash
        self.initial: list[dict[str, Tensor]] = []
        """Weights at the beginning of each phase."""
        self.gradients: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []

    def steps(self, total: int, **options: Any) -> Iterator[int]:  # type: ignore[override]
        self.model, self.optimizer = options["model"], options["optimizer"]
        self.initial.append({name: x.clone() for name, x in self.model.state_dict().items()})
        yield from super().steps(total, **options)

    def log(self, step: int, **values: Any) -> None:
        super().log(step, **values)
        self.gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})
        self.rates.append([group["lr"] for group in self.optimizer.param_groups])
        if step == self.sigterm:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == self.crash:
            raise InterruptedError

    @property
    def logged(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoint" / "model.safetensors")


# -- every encoder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "target"), [("vit", "hog"), ("swin", "hog"), ("pvtv2", "pixel"), ("cmt", "hog")])
def test_overfits_one_batch(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, target: Any
) -> None:
    """Eight images, always the same view and mask of each."""
    draw = Noised.sample
    monkeypatch.setattr(Noised, "sample", lambda self, index, rng: draw(self, index, np.random.default_rng(index)))
    config = replace(
        ENCODERS[kind], target=target, batch_size=8, micro_batch_size=8, epochs=(60,), learning_rate=0.2, save_every=60
    )
    run = Watched(tmp_path)
    pretrain(config, run, replace(digits, pretrain=digits.pretrain[:8]))
    losses = [line["loss"] for line in run.logged]
    assert len(losses) == 60 and losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("kind", ENCODERS)
def test_grows_and_fine_tunes(tmp_path: Path, kind: str) -> None:
    """Every parameter that may move does so in both phases and both stages."""
    config = replace(ENCODERS[kind], **GROWING)
    run = Watched(tmp_path)
    train(config, run)
    assert [line["step"] for line in run.logged] == list(range(TOTAL))
    assert [line.get("size") for line in run.logged] == [16] * BORDER + [32] * (PRETRAINED - BORDER) + [None] * 4
    before, after = run.initial[0], load_file(pretrained_weights(run))
    fresh = build_pretraining(replace(config, resolutions=(32,))).state_dict()
    assert {name: x.shape for name, x in after.items()} == {name: x.shape for name, x in fresh.items()}
    same = [n for n, x in after.items() if x.shape == before[n].shape and torch.equal(x, before[n])]
    assert same == []
    frozen = set() if kind == "pvtv2" else {"encoder.norm.weight", "encoder.norm.bias"}
    before, after = run.initial[1], weights(tmp_path)
    assert {name for name, x in after.items() if torch.equal(x, before[name])} == frozen


# -- stages -----------------------------------------------------------------------------------------------------------


def test_the_learning_rate_knows_no_stages(tmp_path: Path) -> None:
    config = replace(VIT, **GROWING)
    run = Watched(tmp_path)
    train(config, run)
    pretraining = run.rates[:PRETRAINED]
    peak = config.learning_rate * 16 / 256
    expected = [learning_rate(step / 3, peak, 0.0, 0.5, 3) for step in range(PRETRAINED)]
    assert [rate for rates in pretraining for rate in rates] == pytest.approx([x for x in expected for _ in range(2)])
    assert stages(config, IMAGES)[1].epoch(BORDER) == 2 and stages(config, IMAGES)[0].epoch(BORDER) == 2


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("fastmim", {"resolutions": (16, 32)}, "give equally many"),
        ("fastmim", {"epochs": (2, 1)}, "give equally many"),
        ("fastmim", {"stage_batch_sizes": (8, 8)}, "give equally many"),
        ("mae", GROWING, "mae has one only"),
        ("fastmim", {"batch_size": IMAGES + 1}, f"does not fit {IMAGES} images"),
    ],
)
def test_stages_that_make_no_sense(method: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        stages(replace(VIT, **{"method": method, **changes}), IMAGES)


@pytest.mark.parametrize("phase", [pretrain, finetune])
def test_a_batch_in_parts_may_not_exceed_the_labelled_images(digits: Data, tmp_path: Path, phase: Any) -> None:
    """Each part fits, the whole does not: no step would be trained. It is told before pre-training."""
    many = 2 * len(digits.train_labels)
    config = replace(VIT, finetune_batch_size=many, finetune_micro_batch_size=many // 4)
    run = Watched(tmp_path)
    with pytest.raises(UserError, match=f"{many} does not fit"):
        phase(replace(config, method="none") if phase is finetune else config, run, digits)
    assert run.rates == []


def test_a_stage_may_have_a_batch_of_its_own(digits: Data, tmp_path: Path) -> None:
    """Three steps of 16 images an epoch, then six of 8 at half the rate, in parts of 4."""
    config = replace(VIT, resolutions=(16, 32), epochs=(2, 1), stage_batch_sizes=(16, 8), micro_batch_size=4)
    run = Watched(tmp_path)
    pretrain(config, run, digits)
    peaks = [config.learning_rate * size / 256 for size in (16, 8)]
    epochs = [step / 3 for step in range(6)] + [2 + step / 6 for step in range(6)]
    expected = [learning_rate(epoch, peaks[epoch >= 2], 0.0, 0.5, 3) for epoch in epochs]
    assert [rates[0] for rates in run.rates] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["vit", "swin", "cmt"])
def test_the_optimizer_forgets_only_what_changed_shape(kind: str) -> None:
    model = build_pretraining(ENCODERS[kind])
    moved = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(moved.values())
    model(torch.randn(4, 3, 16, 16), torch.rand(4, (16 // model.block) ** 2)).loss.backward()
    optimizer.step()
    moments = {name: optimizer.state[p]["exp_avg"].clone() for name, p in moved.items()}
    shapes = {name: p.shape for name, p in moved.items()}
    resize(model, optimizer, 32)
    changed = {name for name, p in moved.items() if p.shape != shapes[name]}
    tables = {"vit": (), "swin": ("relative_position_bias_table",), "cmt": ("relative_pos",)}[kind]
    assert changed == {name for name in moved if name.endswith(tables)}
    for name, p in moved.items():
        kept = optimizer.state.get(p)
        assert kept is None if name in changed else torch.equal(kept["exp_avg"], moments[name]), name
    optimizer.step()


@pytest.fixture(scope="module")
def whole(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of uninterrupted runs; the shapes of Swin's and CMT's trained tables change between the stages."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "load", lambda config, cache: digits)
        before = signal.getsignal(signal.SIGTERM)
        for kind in ("vit", "swin", "cmt"):
            folders[kind] = tmp_path_factory.mktemp(kind)
            train(replace(ENCODERS[kind], **GROWING), Watched(folders[kind]))
        signal.signal(signal.SIGTERM, before)
    return folders


def assert_same_run(folder: Path, whole: Path) -> None:
    for name in ("model.safetensors", "pretrained.safetensors"):
        assert (folder / "checkpoint" / name).read_bytes() == (whole / "checkpoint" / name).read_bytes(), name
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("kind", "stop"),  # in the first stage, at the border of both, in the second stage, and in fine-tuning
    [("vit", 2), ("swin", BORDER - 1), ("cmt", BORDER), ("vit", PRETRAINED + 2)],
)
def test_stopped_and_continued_is_the_same(whole: dict[str, Path], tmp_path: Path, kind: str, stop: int) -> None:
    config = replace(ENCODERS[kind], **GROWING)
    with pytest.raises(Interrupted, match=f"after step {stop + 1} of"):
        train(config, Watched(tmp_path, sigterm=stop))
    assert load_checkpoint(tmp_path / "checkpoint" / "state.pt")["step"] == stop + 1
    torch.rand(5), np.random.rand(5)  # whatever another process would have drawn
    train(config, Watched(tmp_path))
    assert_same_run(tmp_path, whole[kind])


def test_killed_before_pretrained_weights_are_written(whole: dict[str, Path], tmp_path: Path) -> None:
    class Killed(Watched):
        def export(self, *_: Any) -> None:
            raise InterruptedError

    config = replace(ENCODERS["swin"], **GROWING)
    with pytest.raises(InterruptedError):
        train(config, Killed(tmp_path))
    train(config, Watched(tmp_path))
    assert_same_run(tmp_path, whole["swin"])


# -- accumulation -----------------------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_step(digits: Data, tmp_path: Path) -> None:
    config = replace(VIT, epochs=(1,))
    whole, parts = Watched(tmp_path / "whole"), Watched(tmp_path / "parts")
    pretrain(config, whole, digits)
    pretrain(replace(config, micro_batch_size=4), parts, digits)
    assert len(whole.gradients) == 3
    torch.testing.assert_close(parts.gradients[0], whole.gradients[0], rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(parts.logged, whole.logged, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_a_fine_tuning_batch_in_parts_is_the_same_step(digits: Data, tmp_path: Path) -> None:
    config = replace(VIT, method="none", finetune_epochs=1)
    whole, parts = Watched(tmp_path / "whole"), Watched(tmp_path / "parts")
    train(config, whole)
    train(replace(config, finetune_micro_batch_size=2), parts)
    assert len(whole.gradients) == 2
    for ours, theirs in zip(parts.gradients, whole.gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "parts"),
    [
        (4096, 512, 1, 8),
        (4096, 512, 8, 1),
        (4096, 512, 4, 2),
        (1024, 128, 1, 8),
        (1024, 128, 8, 1),
        (96, 40, 1, 3),
        (64, 64, 1, 1),
        (64, 1, 1, 64),
        (64, 1000, 8, 1),
    ],
)
def test_parts_of_a_batch(batch: int, micro: int, processes: int, parts: int) -> None:
    run: Any = SimpleNamespace(accelerator=SimpleNamespace(num_processes=processes))
    assert accumulation(batch, micro, run) == parts


# -- a loss that is no number -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", [Noised, Labelled])
def test_a_non_finite_loss_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Any) -> None:
    """The first image of the second epoch is spoilt; once it is mended the run goes on as if nothing had been."""
    config = replace(VIT, micro_batch_size=4, finetune_micro_batch_size=2, save_every=2)
    train(config, Watched(tmp_path / "whole"))
    start, size, batch = (0, IMAGES, 16) if dataset is Noised else (6, 16, 8)
    bad = int(np.random.default_rng((SEED, 1)).permutation(size)[0])
    draw, views = dataset.sample, 0

    def spoilt(self: Any, index: int, rng: np.random.Generator) -> dict[str, Any]:
        nonlocal views
        views += index == bad
        sample = draw(self, index, rng)
        return sample | {"image": sample["image"] * math.nan} if index == bad and views == 2 else sample

    step = start + size // batch
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "sample", spoilt)
        with pytest.raises(UserError) as stop:
            train(config, Watched(tmp_path / "spoilt"))
    message = str(stop.value)
    assert f"became nan at step {step} " in message and f"'image {bad}'" in message
    assert message.count("'image ") == batch // 4, "those of the part that was spoilt"
    saved = load_checkpoint(tmp_path / "spoilt" / "checkpoint" / "state.pt")
    assert f"(step {saved['step']})" in message
    assert all(x.isfinite().all() for x in saved["state"]["model"].values())
    train(config, Watched(tmp_path / "spoilt"))
    assert_same_run(tmp_path / "spoilt", tmp_path / "whole")


# -- from pre-training to fine-tuning ---------------------------------------------------------------------------------


def handed_over(tmp_path: Path, config: Config) -> tuple[set[str], set[str], set[str]]:
    """Names of the classifier's tensors, of those that fine-tuning starts from pre-trained, and of the fresh ones."""
    run = Watched(tmp_path)
    train(config, run)
    trained = {
        name: stretch_positions(x, 8) if name == "encoder.pos_embed" else x
        for name, x in load_file(pretrained_weights(run)).items()
    }
    set_seed(SEED)
    fresh = build_classifier(config, 10).state_dict()
    start = run.initial[1]
    assert start.keys() == fresh.keys()
    return (
        set(start),
        {name for name, x in start.items() if name in trained and torch.equal(x, trained[name])},
        {name for name, x in start.items() if torch.equal(x, fresh[name])},
    )


def in_blocks(names: set[str], *numbers: int) -> set[str]:
    return {name for name in names if name.startswith(tuple(f"encoder.blocks.{k}." for k in numbers))}


def test_fine_tuning_starts_from_the_pretrained_encoder(tmp_path: Path) -> None:
    names, trained, fresh = handed_over(tmp_path, VIT)
    assert trained == {name for name in names if name.startswith("encoder.")}
    assert fresh == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}


@pytest.mark.parametrize("half", ["first", "last"])
def test_half_of_the_blocks_is_carried_over(tmp_path: Path, half: Any) -> None:
    names, trained, fresh = handed_over(tmp_path, replace(VIT, load=half))
    first, last = in_blocks(names, 0, 1), in_blocks(names, 2, 3)
    rest = {name for name in names if name.startswith("encoder.")} - first - last
    assert trained == (first if half == "first" else last) | rest
    assert fresh == names - trained


def test_discarded_blocks_start_fresh(tmp_path: Path) -> None:
    names, trained, fresh = handed_over(tmp_path, replace(VIT, discard=2))
    assert in_blocks(names, 2, 3) and fresh >= in_blocks(names, 2, 3)
    assert trained == {name for name in names if name.startswith("encoder.")} - in_blocks(names, 2, 3)
    assert fresh == names - trained


@pytest.mark.parametrize("discard", [0, 1])
def test_read_outs_see_what_pretraining_saw(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discard: int
) -> None:
    config, run, seen = replace(VIT, discard=discard), Watched(tmp_path), []
    train(config, run)
    monkeypatch.setattr(evaluation, "features", lambda model, images: seen.append(model) or np.eye(len(images), 4))
    evaluation.read_outs(config, run, replace(digits, tests={"few": (digits.pretrain[:6], digits.train_labels[:6])}))
    own = {name.removeprefix("encoder."): x for name, x in load_file(pretrained_weights(run)).items()}
    for name, x in seen[0].encoder.named_parameters():
        assert name == "pos_embed" or torch.equal(x, own[name]), name
    assert len(seen[0].encoder.blocks) == 4 - discard


@pytest.mark.parametrize(("kind", "left"), [("swin", (2, 1, 1)), ("pvtv2", (1, 1, 1)), ("cmt", (1, 1))])
def test_whole_stages_are_never_discarded(kind: str, left: tuple[int, ...]) -> None:
    discard = 2 if kind == "swin" else 1
    encoder: Any = build_pretraining(replace(ENCODERS[kind], discard=discard)).encoder
    assert encoder.depths == left


@pytest.mark.parametrize("method", ["mae", "simmim"])
def test_the_baselines_hand_their_encoder_over(tmp_path: Path, method: Any) -> None:
    names, trained, _ = handed_over(tmp_path, replace(VIT, method=method))
    assert trained == {name for name in names if name.startswith("encoder.")}


def test_from_scratch_there_is_no_pretraining(tmp_path: Path) -> None:
    run = Watched(tmp_path)
    train(replace(VIT, method="none"), run)
    assert not pretrained_weights(run).exists() and len(run.initial) == 1
    assert [line["step"] for line in run.logged] == [0, 1, 2, 3]
    set_seed(SEED)
    torch.testing.assert_close(run.initial[0], dict(build_classifier(VIT, 10).state_dict()), rtol=0, atol=0)


# -- from the authors' pre-trained files ------------------------------------------------------------------------------

# Encoders of the golden pre-training networks, whose weights have the official names and are of 64 pixels.
GOLDEN = Path(__file__).parents[2] / "golden" / "fastmim"
OFFICIAL: dict[str, Config] = {
    "vit": replace(VIT, patch_size=16, widths=(48,), depths=(2,), heads=(3,), image_size=128),
    "swin": replace(VIT, encoder="swin", widths=(8,), depths=(2, 2, 2, 1), heads=(1, 2, 4, 8), image_size=128),
    "pvtv2": replace(
        VIT,
        encoder="pvtv2",
        widths=(8, 16, 20, 32),
        depths=(1, 1, 1, 1),
        heads=(1, 2, 5, 4),
        mlp_ratios=(4, 4, 4, 4),
        reductions=(8, 4, 2, 1),
        image_size=64,
    ),
}


def write_official(path: Path, kind: str, **more: Tensor) -> dict[str, Tensor]:
    """A pre-trained file of the authors in small; returns its tensors."""
    with np.load(GOLDEN / f"{kind}_hog_forward.npz") as golden:
        weights = {key[2:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("w/")}
    torch.save({"model": weights | more, "epoch": 799}, path)
    return weights


@pytest.mark.parametrize("kind", OFFICIAL)
def test_fine_tuning_starts_from_a_file_of_the_authors(tmp_path: Path, kind: str) -> None:
    official, path = write_official(tmp_path / "pretrain.pth", kind), tmp_path / "pretrain.pth"
    config = replace(OFFICIAL[kind], checkpoint=str(path))
    run = Watched(tmp_path / "run")
    train(config, run)
    assert len(run.initial) == 1 and [line["step"] for line in run.logged] == [0, 1, 2, 3]
    assert not any("size" in line for line in run.logged), "a step of pre-training"
    set_seed(SEED)
    expected = build_classifier(config, 10)
    load_official(expected, official, fresh=HEADS)
    torch.testing.assert_close(run.initial[0], dict(expected.state_dict()), rtol=0, atol=0)
    if kind == "vit":
        assert torch.equal(run.initial[0]["encoder.blocks.1.mlp.fc2.weight"], official["blocks.1.mlp.fc2.weight"])
        assert torch.equal(run.initial[0]["encoder.pos_embed"], stretch_positions(official["pos_embed"], 8))

    if kind != "vit":
        return
    with pytest.raises(Interrupted):
        train(config, Watched(tmp_path / "stopped", sigterm=1))
    path.unlink()
    train(config, Watched(tmp_path / "stopped"))
    assert_same_run(tmp_path / "stopped", run.folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(OFFICIAL["vit"], widths=(24,)), r"fits this variant \(vit\)\. .*'cls_token' should have shape"),
        (replace(OFFICIAL["vit"], depths=(3,)), r"It lacks blocks\.2\.norm1\.weight, .* and others"),
        (replace(OFFICIAL["vit"], discard=1), "at least as many blocks"),
        (OFFICIAL["swin"], r"fits this variant \(swin\)\. .*it has 'cls_token', the encoder does not"),
        (OFFICIAL["pvtv2"], "has no weights of a PVTv2"),
        (replace(OFFICIAL["vit"], method="none"), "method is none; the authors' files are FastMIM's"),
    ],
)
def test_a_file_of_the_authors_that_does_not_fit(tmp_path: Path, config: Config, message: str) -> None:
    path = tmp_path / "pretrain.pth"
    write_official(path, "vit")
    with pytest.raises(UserError, match=message) as error:
        train(replace(config, checkpoint=str(path)), Watched(tmp_path / "run"))
    assert str(path) in str(error.value) and not pretrained_weights(Watched(tmp_path / "run")).exists()


def test_a_fine_tuned_or_damaged_file_is_not_fine_tuned(tmp_path: Path) -> None:
    path, run = tmp_path / "pretrain.pth", Watched(tmp_path / "run")
    config = replace(OFFICIAL["vit"], checkpoint=str(path))
    write_official(path, "vit", **{"head.bias": torch.zeros(10)})
    with pytest.raises(UserError, match="fine-tuned already"):
        train(config, run)
    write_official(path, "vit", cls_token=torch.full((1, 1, 48), math.nan))
    with pytest.raises(UserError, match="cls_token is NaN or infinite"):
        train(config, run)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"pretrain\.pth is not a checkpoint"):
        train(config, run)


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def test_layer_decay_scales_the_rates(tmp_path: Path) -> None:
    run = Watched(tmp_path)
    train(replace(VIT, method="none", layer_decay=0.5), run)
    peak = VIT.finetune_learning_rate * 8 / 256
    for step, rates in enumerate(run.rates[1:], start=1):  # the first rate is 0
        rate = learning_rate(step / 2, peak, VIT.finetune_min_learning_rate, 0.5, 2)
        assert sorted(set(rates)) == pytest.approx([rate * 0.5**k for k in range(5, -1, -1)])


def test_with_no_rate_left_the_encoder_stays(tmp_path: Path) -> None:
    run = Watched(tmp_path)
    train(replace(VIT, layer_decay=0.0), run)
    start, end = run.initial[1], weights(tmp_path)
    assert {n for n in end if not torch.equal(start[n], end[n])} == {n for n in end if not n.startswith("encoder.")}


def test_mixed_images_have_mixed_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[Tensor] = []

    class Recorded(train_module.SoftTargetCrossEntropy):
        def forward(self, x: Tensor, target: Tensor) -> Tensor:
            labels.append(target)
            return super().forward(x, target)

    monkeypatch.setattr(train_module, "SoftTargetCrossEntropy", Recorded)
    train(replace(VIT, method="none", mixup=0.8, cutmix=1.0, label_smoothing=0.1), Watched(tmp_path))
    target = torch.stack(labels)
    assert target.shape == (4, 8, 10)
    torch.testing.assert_close(target.sum(-1), torch.ones(4, 8))
    assert target.min() == pytest.approx(0.01)
    assert ((target > 0.011).sum(-1) == 2).any()


def test_every_process_mixes_on_its_own(tmp_path: Path, two_processes: Callable[..., str]) -> None:
    assert "each process mixes on its own" in two_processes("finetuning", tmp_path)


def test_without_mixing_labels_are_smoothed(tmp_path: Path) -> None:
    smooth, hard = (Watched(tmp_path / name) for name in ("smooth", "hard"))
    train(replace(VIT, method="none", label_smoothing=0.1), smooth)
    train(replace(VIT, method="none"), hard)
    assert smooth.logged[0]["loss"] == pytest.approx(math.log(10), rel=1e-3)
    assert smooth.logged[-1]["loss"] != hard.logged[-1]["loss"]


# -- the paper's preset -----------------------------------------------------------------------------------------------

PAPER = PRESETS["paper"]
TRAIN, BATCHES, FINETUNE_BATCHES = 1_281_167, 312, 1251  # images, and whole batches of 4096 and of 1024 of them


def paper(variant: str) -> Config:
    return replace(PAPER, **VARIANTS[variant].changes)


@pytest.mark.parametrize(
    ("variant", "millions"), [("fastmim", 86.7), ("swin-b", 90.2), ("pvtv2-b2", 28.3), ("cmt-s", 27.5)]
)
def test_the_papers_networks(variant: str, millions: float) -> None:
    config = paper(variant)
    with torch.device("meta"):
        pretraining, classifier = build_pretraining(config), build_classifier(config, 1000)
    assert sum(p.numel() for p in pretraining.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    missing = {f"encoder.{name}" for name in classifier.encoder.state_dict()} - pretraining.state_dict().keys()
    assert missing == set()


def test_simmim_with_swin_b() -> None:
    """192 pixels, 6 x 6 blocks of 32 and windows of 6; only its mask token and head are not of the encoder."""
    config = paper("simmim-swin-b")
    assert (config.resolutions, config.epochs, config.batch_size, config.mask_ratio) == ((192,), (800,), 2048, 0.6)
    assert (config.finetune_learning_rate, config.layer_decay) == (1e-3, 0.8)
    with torch.device("meta"):
        pretraining, classifier = build_pretraining(config), build_classifier(config, 1000)
        prediction = pretraining(torch.empty(2, 3, 192, 192), torch.empty(2, 36), config.mask_ratio)
    assert prediction.pred.shape == (2, 3, 192, 192)
    missing = {f"encoder.{name}" for name in classifier.encoder.state_dict()} - pretraining.state_dict().keys()
    assert missing == set()


def test_claims_of_every_scale() -> None:
    """Those on accuracy that the paper's preset can judge, and none of them in the offline presets."""
    judged = {
        preset: [c for c in CLAIMS if all(preset in VARIANTS[v].presets for v in c.variants)] for preset in PRESETS
    }
    accuracy = {c.id for c in judged["paper"] if c.metric == "accuracy_percent"}
    large = {"low-resolution-equal-images", "hog-is-stable", "hog-beats-pixels", "discard", "progressive"}
    assert accuracy == {"pretraining-helps"} | {f"{name}-b" for name in large}
    assert not {f"{name}-b" for name in large} & {c.id for c in judged["cpu"]}
    assert {c.id for c in CLAIMS} == {c.id for c in judged["cpu"] + judged["paper"]}
    twins = {c.id: c for c in CLAIMS}
    for name in large:
        offline, b = twins[name], twins[f"{name}-b"]
        assert (b.number, b.source, b.metric, b.direction, b.control) == (
            offline.number, offline.source, offline.metric, offline.direction, offline.control,
        )  # fmt: skip
        assert b.margin == (SIMILAR_IMAGENET if offline.margin == SIMILAR else offline.margin)
        assert {v.removesuffix("-b") for v in b.variants} == offline.variants


@pytest.fixture(scope="module")
def imagenet() -> Data:
    photos, labels = Photos(["n0/0.JPEG"] * TRAIN), torch.zeros(TRAIN, dtype=torch.int64)
    none = (Photos([]), torch.empty(0, dtype=torch.int64))
    classes = [str(k) for k in range(1000)]
    return Data("imagenet", photos, photos, labels, *none, {"val": none}, classes, (0.5,) * 3, (0.2,) * 3)


class Reached(Exception):
    """A step's learning rate has been set."""


def rate_at(phase: Any, config: Config, data: Data, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from a step of the real loop, which then ends, to its learning rate and the number of all steps."""
    found: dict[str, Any] = {}

    class Jump(Run):
        def steps(self, total: int, **_: Any) -> Iterator[int]:  # type: ignore[override]
            found["total"] = total
            yield found["step"]

    def stop(optimizer: Any, value: float) -> None:
        found["rate"] = value
        raise Reached

    monkeypatch.setattr(train_module, "set_learning_rate", stop)
    run = Jump(folder, folder, seed=0)

    def at(step: int) -> tuple[float, int]:
        found["step"] = step
        with pytest.raises(Reached):
            phase(config, run, data)
        return found["rate"], found["total"]

    return at


@pytest.mark.parametrize("variant", ["fastmim", "swin-b"])
def test_the_papers_recipe(variant: str) -> None:
    """The tables of the official code's README and parsers."""
    config, swin = paper(variant), variant == "swin-b"
    assert (config.resolutions, config.mask_ratio, config.cell, config.target) == ((128,), 0.75, 8, "hog")
    assert (config.block, config.decoder_depth, config.decoder_width) == (32 if swin else 16, 4 if swin else 1, 256)
    assert (config.epochs, config.batch_size, config.weight_decay) == (
        (400,) if swin else (800,),
        2048 if swin else 4096,
        0.05,
    )
    assert (config.finetune_learning_rate, config.layer_decay) == ((1e-3, 0.8) if swin else (6e-4, 0.7))
    assert (config.finetune_epochs, config.finetune_batch_size, config.finetune_warmup_epochs) == (100, 1024, 5)
    assert (config.drop_path, config.label_smoothing, config.mixup, config.cutmix) == (0.1, 0.1, 0.8, 1.0)
    assert (config.image_size, config.finetune_min_learning_rate) == (224, 1e-6)


@pytest.mark.parametrize(
    ("variant", "batches", "peak", "warmup", "epochs"),
    [
        ("fastmim", BATCHES, 2.4e-3, 20, 800),
        ("swin-b", 625, 1.2e-3, 10, 400),
        ("simmim-b", 625, 4e-4, 20, 800),
        ("simmim-swin-b", 625, 4e-4, 20, 800),
        ("mae-b", BATCHES, 2.4e-3, 40, 1600),
    ],
)
def test_the_papers_pretraining_schedule(
    imagenet: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    batches: int,
    peak: float,
    warmup: int,
    epochs: int,
) -> None:
    small: dict[str, Any] = {"encoder": "vit", "patch_size": 16, "widths": (48,), "depths": (1,), "heads": (1,)}
    config = replace(paper(variant), **small, decoder_width=32, decoder_depth=1)
    at = rate_at(pretrain, config, imagenet, tmp_path, monkeypatch)
    assert at(0) == (0.0, epochs * batches)
    half = (warmup + epochs) // 2
    assert at(warmup // 2 * batches)[0] == pytest.approx(peak / 2)
    assert at(warmup * batches)[0] == pytest.approx(peak)
    assert at(half * batches)[0] == pytest.approx(peak / 2)
    assert at(epochs * batches - 1)[0] < 1e-4 * peak


def test_the_papers_fine_tuning_schedule(imagenet: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(PAPER, widths=(48,), depths=(1,), heads=(1,), method="none")
    at, total = rate_at(finetune, config, imagenet, tmp_path, monkeypatch), 100 * FINETUNE_BATCHES
    assert at(5 * FINETUNE_BATCHES) == (pytest.approx(2.4e-3), total)
    assert at(total - 1)[0] == pytest.approx(1e-6, rel=1e-2)
