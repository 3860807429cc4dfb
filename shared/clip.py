"""One frozen image-text model behind one interface: any open_clip model, or two towers that arrive as pip packages.

    clip = load_clip("ViT-B-32", pretrained="openai", device="cuda")       # downloads once
    clip = load_clip("ViT-B-32-quickgelu", pretrained="/models/vit_b_32.safetensors")
    clip = load_clip()                                                     # "offline": no download
    image = clip.encode_image(clip.preprocess(photo)[None], normalize=True)
    text = clip.encode_text(["a photo of a tiger."], normalize=True)
    probability = (clip.logit_scale * image @ text.T).softmax(-1)

The offline towers never saw an image beside a text. EfficientNet-Lite0 names what it sees as a distribution over the
ImageNet classes, MiniLM embeds the names of those classes, and the expected name is the image's embedding (ConSE,
Norouzi et al., 2014, with all 1000 classes). A text is treated alike: its likeness to the class names is a distribution
over them, and their expectation its embedding, which leaves less of a gap between images and texts than the text's own
embedding. Both sides are centred on the mean class name, without which every text resembles every other. How far that
gets is measured by `ci/retrieval.py`; `shared/README.md` has the numbers.
"""

import functools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from . import UserError
from .offline.towers import SentenceEncoder, efficientnet_lite0, imagenet_class_text, in_batches
from .support import hub
from .support.images import as_rgb
from .support.weights import finite_weights


class CLIP(nn.Module):
    """Interface of every image-text model here. Frozen: no gradients, and `train()` leaves it in evaluation mode.

    Attributes:
        image_size: side in pixels of what `preprocess` returns.
        logit_scale: factor between cosines and logits of the contrastive softmax, 1 / temperature.
        width: D, the joint space.
    """

    image_size: int
    logit_scale: float
    transform: Any  # PIL RGB image -> (3, H, W)
    text_batch = 32  # texts that are embedded at a time

    def _image_embedding(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def _text_embedding(self, texts: list[str]) -> Tensor:
        raise NotImplementedError

    def _feature_map(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids as the text tower takes them, int64 (N, L), padded at the end; cut off where it ends."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "CLIP":
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @functools.cached_property
    def width(self) -> int:
        return self.encode_text([""]).shape[1]

    @property
    def preprocess(self) -> Callable[[Image.Image | np.ndarray], Tensor]:
        """Resize the short side to `image_size`, crop the centre, normalise as the image tower expects.

        Takes a PIL image, or a uint8 array (H, W, 3) or (H, W, 4), see `shared.support.images.as_rgb`; returns
        (3, image_size, image_size) float32. A loader's workers can be given it: it does not hold the model.
        """
        return functools.partial(_preprocess, self.transform)

    @torch.no_grad()
    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Joint-space embeddings (B, D) of preprocessed images (B, 3, H, W); without `normalize`, of any norm."""
        embedding = self._image_embedding(images)
        return F.normalize(embedding, dim=-1) if normalize else embedding

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], normalize: bool = False) -> Tensor:
        """Joint-space embeddings (N, D) of N texts; without `normalize`, of any norm."""
        if isinstance(texts, str) or not texts:
            raise ValueError(f"expected a list of texts, found {texts!r}")
        embedding = in_batches(self._text_embedding, texts, self.text_batch)
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def encode_prompts(self, labels: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Mean over the templates of each label's prompts, (N, D); neither the prompts nor their mean is normalised.

        Args:
            templates: such as "a photo of a {}.", filled by `str.format`.
        """
        if isinstance(labels, str) or isinstance(templates, str):
            raise ValueError(f"expected lists of labels and of templates, found {labels!r} and {templates!r}")
        prompts = [template.format(label) for label in labels for template in templates]
        return self.encode_text(prompts).view(len(labels), len(templates), -1).mean(1)

    @torch.no_grad()
    def patch_tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The image tower's last-layer patch tokens, before any projection to the joint space.

        Args:
            images: (B, 3, H, W), preprocessed.

        Returns: tokens (B, h * w, Dv) in row-major order, no class token, after the tower's final norm; grid (h, w).
        """
        features = self._feature_map(images)
        return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])


def _preprocess(transform: Callable[[Image.Image], Tensor], image: Image.Image | np.ndarray) -> Tensor:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
            raise ValueError(f"expected uint8 (H, W, 3 or 4), found {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    return transform(as_rgb(image))


class OpenCLIP(CLIP):
    """Any open_clip model. See `load_clip`."""

    text_batch = 256  # all are padded to one length anyway

    def __init__(self, name: str, pretrained: str | None = None) -> None:
        super().__init__()
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

        if ":" not in name and name.replace("/", "-") not in open_clip.list_models():
            raise UserError(f"There is no model {name!r}. Choose 'offline' or one of open_clip.list_models().")
        tag = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
        if pretrained and not tag and not Path(pretrained).is_file():
            raise UserError(
                f"{pretrained} is neither a checkpoint file nor a set of weights that open_clip knows for {name}. "
                f"It knows: {', '.join(open_clip.list_pretrained_tags_by_model(name)) or 'none'}."
            )
        try:
            if pretrained and not tag:
                open(pretrained, "rb").close()  # safetensors says "No such file" of one that may not be read
            with hub.quiet():
                self.model = open_clip.create_model(
                    name,
                    pretrained,
                    # Some weights were trained with QuickGELU and open_clip only warns when the model is not.
                    force_quick_gelu=bool(tag.get("quick_gelu")),
                    pretrained_text=False,
                    require_pretrained=pretrained is not None or ":" in name,
                    weights_only=True,
                )
                self.tokenizer = open_clip.get_tokenizer(name)
            finite_weights(self.model.state_dict())
        except Exception as error:  # whatever a damaged, foreign or unsafe file makes of the loaders
            if fault := hub.failure(error):
                raise UserError(
                    f"{f'{pretrained} of ' if pretrained else ''}{name} is not on this machine, and {fault}. Check the "
                    "name and the network, or give a checkpoint file."
                ) from error
            reason = textwrap.shorten(str(error), 200) or type(error).__name__
            if "weights_only" in str(error):  # PyTorch's advice is to trust the file
                reason = "it holds more than tensors and would have to be unpickled"
            raise UserError(
                f"Cannot load {pretrained or name} into {name}: {reason}. Expected the state dict of that open_clip "
                "model; convert other files to .safetensors."
            ) from error
        config = PreprocessCfg(**self.model.visual.preprocess_cfg)
        self.transform = image_transform_v2(config, is_train=False)
        self.image_size = config.size if isinstance(config.size, int) else config.size[0]
        self.logit_scale = self.model.logit_scale.exp().item()

    def _image_embedding(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        return self.tokenizer(list(texts))

    def _text_embedding(self, texts: list[str]) -> Tensor:
        return self.model.encode_text(self.tokenize(texts).to(self.device))

    def _feature_map(self, images: Tensor) -> Tensor:
        visual = self.model.visual
        # With an attention pool (CoCa), the final norm belongs to the pooled tokens and does not fit these.
        normalize = getattr(visual, "attn_pool", None) is None
        output = visual.forward_intermediates(
            images, indices=1, normalize_intermediates=normalize, intermediates_only=True, output_fmt="NCHW"
        )
        return output["image_intermediates"][-1]


class OfflineCLIP(CLIP):
    """EfficientNet-Lite0 and MiniLM, joined by the names of the ImageNet classes. D = 384, Dv = 1280, 7 x 7 tokens."""

    # No contrastive training chose a scale. Over the embedded captioned photographs the contrastive loss is
    # lowest near 8 and little higher from 6 to 10; at CLIP's 100 it is more than six times as large.
    logit_scale = 10.0
    # Sharpness of a text's distribution over the class names, chosen on CLIPSep's validation data (one seed), where 10
    # to 25 do about as well; retrieval is a little lower than with the text's own embedding.
    text_scale = 20.0
    # A unit vector times 10, the norm of CLIP ViT-B/32's embeddings, for models that take them un-normalised.
    norm = 10.0

    image_size = 224
    class_text: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision import transforms

        self.image_tower = efficientnet_lite0()
        self.text_tower = SentenceEncoder()
        class_text = imagenet_class_text()
        self.register_buffer("class_text_mean", class_text.mean(0))
        self.register_buffer("class_text", class_text - class_text.mean(0))
        self.transform = transforms.Compose(
            [
                transforms.Resize(self.image_size, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(self.image_size),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        return self.text_tower.tokens(texts)["input_ids"]

    def _image_embedding(self, images: Tensor) -> Tensor:
        return self._expected_name(self.image_tower(images).softmax(-1))

    def _text_embedding(self, texts: list[str]) -> Tensor:
        text = F.normalize(self.text_tower(texts) - self.class_text_mean, dim=-1)
        likeness = text @ F.normalize(self.class_text, dim=-1).T
        return self._expected_name((self.text_scale * likeness).softmax(-1))

    def _expected_name(self, distribution: Tensor) -> Tensor:
        return self.norm * F.normalize(distribution @ self.class_text, dim=-1)

    def _feature_map(self, images: Tensor) -> Tensor:
        return self.image_tower.forward_features(images)


def load_clip(name: str = "offline", *, pretrained: str | None = None, device: str | torch.device = "cpu") -> CLIP:
    """A frozen image-text model.

    Args:
        name: "offline", or what open_clip calls the model: "ViT-B-32", "hf-hub:...", "local-dir:...". A checkpoint file
            of OpenAI's weights needs the "-quickgelu" name; a tag chooses the activation by itself.
        pretrained: an open_clip tag ("openai", "laion2b_s34b_b79k", ...), downloaded once to the usual cache, or the
            path of a checkpoint; None leaves an open_clip model randomly initialised. Nothing is unpickled.

    Raises:
        UserError: unknown model or tag, no such file, a checkpoint that does not fit, a missing Python package.
    """
    if pretrained and (name == "offline" or ":" in name):
        raise UserError(f"{name} has its own weights; {pretrained} needs the name of an open_clip model.")
    model = OfflineCLIP() if name == "offline" else OpenCLIP(name, pretrained)
    return model.requires_grad_(False).eval().to(device)


def find_weights(name: str, pretrained: str) -> Path | None:
    """Where the weights of an open_clip model are on this machine; None if :func:`load_clip` would download them."""
    if Path(pretrained).is_file():
        return Path(pretrained)
    import open_clip
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    tag = open_clip.get_pretrained_cfg(name, pretrained)
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        path = Path("~/.cache/clip").expanduser() / Path(tag.get("url", "")).name
        return path if path.is_file() else None
    for candidate in [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        if isinstance(found := try_to_load_from_cache(repository, candidate), str):
            return Path(found)
    return None


def describe_weights(name: str, pretrained: str) -> str:
    """One line for ``make check-data``: the weights of an open_clip model, and whether they are on this machine."""
    found = find_weights(name, pretrained)
    where = f"at hand in {found}" if found else "not on this machine; the first run downloads them"
    return f"weights of {name}, open_clip tag {pretrained}: {where}"
