"""CLIPSep, CLIPSep-NIT and the baselines that share their mask U-Net.

Sub-module names (``sound_net``, ``frame_net``, ``synth_net``, ``pit_nets``, ``label_net``) are the official code's;
``load_official`` reads its checkpoints.

Shapes: B mixtures, n sources (2 in the paper), D query width, K feature maps, F frequency bins, T frames.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from shared import UserError


class UNet(nn.Module):
    """The mask U-Net ("sound_net"): ``(B, in_channels, F, T)`` -> ``(B, out_channels, F, T)``.

    Every level halves both axes, so F and T must be divisible by ``2 ** num_levels``. Level widths are ``width`` times
    1, 2, 4, 8, 8, ... With ``query_channels`` > 0 a query is tiled over the bottleneck and concatenated to it: the
    official ``CondUNet``, used by middle fusion. Source: official code.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 32,
        num_levels: int = 7,
        width: int = 64,
        query_channels: int = 0,
    ) -> None:
        super().__init__()
        if num_levels < 2:
            raise UserError(f"num_levels is {num_levels}, but the U-Net needs at least 2 levels (the paper uses 7).")
        self.num_levels = num_levels
        self.query_channels = query_channels
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        above = in_channels
        for level in range(num_levels):
            outermost, innermost = level == 0, level == num_levels - 1
            channels = width * min(2**level, 8)
            self.down.append(_down(above, channels, activate=not outermost, norm=not (outermost or innermost)))
            below = channels + query_channels if innermost else 2 * channels  # 2: the skip and what came up
            self.up.append(_up(below, out_channels if outermost else above, norm=not outermost))
            above = channels
        self.to(memory_format=torch.channels_last)  # the same values, a third less time a step

    def forward(self, x: Tensor, query: Tensor | None = None) -> Tensor:
        """``x`` (B, in_channels, F, T), ``query`` (B, query_channels) -> (B, out_channels, F, T), no activation."""
        stride = 2**self.num_levels
        if x.shape[-2] % stride or x.shape[-1] % stride:
            raise UserError(
                f"A spectrogram of {x.shape[-2]} bins x {x.shape[-1]} frames does not fit a U-Net of {self.num_levels} "
                f"levels: both must be divisible by {stride}. Change the segment length, the bins or the levels."
            )
        x = self.bn0(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        if query is not None:
            x = torch.cat([x, query[:, :, None, None].expand(-1, -1, *x.shape[-2:])], dim=1)
        for up in reversed(self.up):
            x = up(x)
            skip = skips.pop()
            if skips:  # the outermost level has no skip connection
                x = torch.cat([skip, x], dim=1)
        return x


def _down(in_channels: int, out_channels: int, activate: bool, norm: bool) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    if activate:
        layers["activation"] = nn.LeakyReLU(0.2)
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=False)
    if norm:
        layers["norm"] = nn.BatchNorm2d(out_channels)
    return nn.Sequential(layers)


def _up(in_channels: int, out_channels: int, norm: bool) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    layers["activation"] = nn.ReLU()
    layers["upsample"] = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=not norm)
    if norm:
        layers["norm"] = nn.BatchNorm2d(out_channels)
    return nn.Sequential(layers)


class InnerProd(nn.Module):
    """Mask head ("synth_net"): logit(f, t) = sum_k q_k s_k F_k(f, t) + b, shared by query and noise heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        """``query`` (B, n, K), ``features`` (B, K, F, T) -> logits (B, n, 1, F, T)."""
        # In this operand order the gradient of the features keeps their channels-last layout. Query after query, the
        # bias's gradient is summed as it was when the committed results were made.
        logits = torch.einsum("bkx,bnk->nbx", features.flatten(2), query * self.scale)
        biased = logits.flatten() + self.bias
        return biased.view(*logits.shape[:2], 1, *features.shape[2:]).transpose(0, 1)


class CLIPSep(nn.Module):
    """Query-conditioned mask network: CLIPSep, and with ``noise_heads=2`` CLIPSep-NIT.

    A query is a raw (not L2-normalised) embedding of width D. ``frame_net`` projects it to K numbers, a sigmoid turns
    them into weights q of the K feature maps of ``sound_net``. The noise queries of NIT come from the mean of the
    sources' projections *before* the sigmoid and share the feature maps and the mask head.

    ``fusion`` is where query and spectrogram meet: "late" (the paper's model), "early" (q tiled and concatenated to the
    input, one U-Net pass a query) or "middle" (q concatenated at the bottleneck, one pass a query). For early fusion
    the official code projects every frame and takes the maximum over frames; here, as for the others, the mean of the
    frames' embeddings is projected.

    Source: official code (``CLIPSep``, ``CLIPPITSepV4``, ``CLIPSepV2``, ``CLIPSepV3``).
    """

    def __init__(
        self,
        query_width: int = 512,
        channels: int = 32,
        num_levels: int = 7,
        width: int = 64,
        fusion: Literal["late", "early", "middle"] = "late",
        noise_heads: Literal[0, 2] = 0,
    ) -> None:
        super().__init__()
        if noise_heads and fusion != "late":
            raise UserError(f"Noise heads need the feature maps of late fusion, but fusion is '{fusion}'.")
        self.fusion = fusion
        self.frame_net = nn.Linear(query_width, channels)
        if fusion == "late":
            self.sound_net = UNet(1, channels, num_levels, width)
            self.synth_net = InnerProd(channels)
            self.pit_nets = nn.ModuleList(nn.Linear(channels, channels) for _ in range(noise_heads))
        elif fusion == "early":
            self.sound_net = UNet(1 + channels, 1, num_levels, width)
        else:
            self.sound_net = UNet(1, 1, num_levels, width, query_channels=channels)
        self.apply(initialise)

    def project(self, queries: Tensor) -> Tensor:
        """Query embeddings (..., D) -> projections (..., K), before the sigmoid."""
        return self.frame_net(queries)

    def forward(self, log_mixture: Tensor, queries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mask logits of every query, and of the noise heads if the model has any.

        ``log_mixture`` (B, 1, F, T) natural log of the mixture magnitude, ``queries`` (B, n, D)
        -> mask logits (B, n, 1, F, T), noise logits (B, noise_heads, 1, F, T) or None.
        """
        # (n, B, K): gradients are summed query after query, as they were when the committed results were made.
        projections = self.project(queries.transpose(0, 1))
        q = projections.sigmoid()
        if self.fusion == "early":
            size = log_mixture.shape[-2:]
            tiled = q[..., None, None].expand(-1, -1, -1, *size)
            return torch.stack([self.sound_net(torch.cat([log_mixture, maps], dim=1)) for maps in tiled], dim=1), None
        if self.fusion == "middle":
            return torch.stack([self.sound_net(log_mixture, query) for query in q], dim=1), None
        features = self.sound_net(log_mixture)
        if not self.pit_nets:
            return self.synth_net(q.transpose(0, 1), features), None
        mean_projection = projections.mean(dim=0)
        noise_q = torch.stack([pit_net(mean_projection).sigmoid() for pit_net in self.pit_nets])
        logits = self.synth_net(torch.cat([q, noise_q]).transpose(0, 1), features)
        return logits[:, : len(q)], logits[:, len(q) :]

    def separate(self, log_mixture: Tensor, query: Tensor) -> Tensor:
        """Mask probabilities of one query a mixture; the noise heads are discarded.

        ``log_mixture`` (B, 1, F, T), ``query`` (B, D) -> (B, 1, F, T) in [0, 1].
        """
        mask_logits, _ = self(log_mixture, query.unsqueeze(1))
        return mask_logits[:, 0].sigmoid()


class LabelSep(CLIPSep):
    """Supervised baseline: the query is a learned embedding of the class label.

    ``forward`` and ``separate`` take integer labels (B, n) and (B,) in [0, n_labels) instead of embeddings.
    Source: official code (``LabelSepV2``). Other keyword arguments as in ``CLIPSep``.
    """

    def __init__(
        self, n_labels: int, query_width: int = 512, channels: int = 32, num_levels: int = 7, width: int = 64
    ) -> None:
        super().__init__(query_width, channels, num_levels, width)
        self.label_net = nn.Embedding(n_labels, query_width)  # keeps PyTorch's N(0, 1)

    def project(self, queries: Tensor) -> Tensor:
        """Labels (...) -> projections (..., K), before the sigmoid."""
        return self.frame_net(self.label_net(queries))


class BERTSep(LabelSep):
    """LabelSep with fixed text embeddings of the labels, (n_labels, D), in place of learned ones.

    Source: official code (``BERTSep``; D = 256 there).
    """

    def __init__(self, label_embeddings: Tensor, channels: int = 32, num_levels: int = 7, width: int = 64) -> None:
        n_labels, query_width = label_embeddings.shape
        super().__init__(n_labels, query_width, channels, num_levels, width)
        self.label_net = nn.Embedding.from_pretrained(label_embeddings, freeze=True)


class PITSep(nn.Module):
    """Query-free baseline: two masks by a 1x1 convolution, trained with permutation invariance.

    Source: official code (``PITSep``).
    """

    def __init__(self, channels: int = 32, num_levels: int = 7, width: int = 64) -> None:
        super().__init__()
        self.sound_net = UNet(1, channels, num_levels, width)
        self.synth_net = nn.Conv2d(channels, 2, kernel_size=1)
        self.apply(initialise)

    def forward(self, log_mixture: Tensor, queries: Tensor | None = None) -> tuple[Tensor, None]:
        """``log_mixture`` (B, 1, F, T) -> mask logits (B, 2, 1, F, T) in arbitrary order; ``queries`` are ignored."""
        return self.synth_net(self.sound_net(log_mixture)).unsqueeze(2), None

    def separate(self, log_mixture: Tensor, query: Tensor | None = None) -> Tensor:
        """Probabilities (B, 1, F, T) of the first mask; the official evaluation's other candidate is 1 minus it.

        The second trained mask is not used there.
        """
        return self(log_mixture)[0][:, 0].sigmoid()


def initialise(module: nn.Module) -> None:
    """The official initialisation, for ``Module.apply``: convolutions N(0, 1e-3), linear layers N(0, 1e-4), batch norm
    weights N(1, 0.02); convolution and linear biases and embeddings keep PyTorch's defaults."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 1e-3)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 1e-4)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def load_official(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load a state dict of the official code (sony/CLIPSep) into a model of this file, or into a bare ``UNet``.

    Entries the model has no use for (the noise heads of a CLIPSep-NIT checkpoint in a model without them) are
    skipped. Early fusion is not read: its official ``frame_net.fc`` works on single frames. Raises UserError if an
    entry is missing or has another shape.
    """
    official = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}  # DataParallel's prefix
    renamed = {
        f"{prefix}.{ours}".lstrip("."): f"{prefix}.{theirs}".lstrip(".")
        for prefix, unet in model.named_modules()
        if isinstance(unet, UNet)
        for ours, theirs in _official_names(unet).items()
    }
    loaded = {}
    for name, tensor in model.state_dict().items():
        module, parameter = name.rsplit(".", 1)
        source = f"{renamed.get(module, module)}.{parameter}"
        if source not in official or official[source].shape != tensor.shape:
            found = tuple(official[source].shape) if source in official else "nothing"
            raise UserError(
                f"The checkpoint does not fit this model: '{source}' should have shape {tuple(tensor.shape)}, found "
                f"{found}. Build the model with the checkpoint's own width, number of levels, channels and query width."
            )
        loaded[name] = official[source]
    model.load_state_dict(loaded)


def _official_names(unet: UNet) -> dict[str, str]:
    """Names of our U-Net's layers -> names in the official code, whose blocks are nested instead of listed."""
    names: dict[str, str] = {}
    path = "unet_block"
    for level in range(unet.num_levels):
        if unet.query_channels:
            places, inner = ("downconv", "downnorm", "upconv", "upnorm"), "submodule"
        elif level == 0:
            places, inner = ("model.0", "", "model.4", ""), "model.1"
        elif level == unet.num_levels - 1:
            places, inner = ("model.1", "", "model.4", "model.5"), ""
        else:
            places, inner = ("model.1", "model.2", "model.6", "model.7"), "model.3"
        ours = (f"down.{level}.conv", f"down.{level}.norm", f"up.{level}.conv", f"up.{level}.norm")
        names |= {name: f"{path}.{place}" for name, place in zip(ours, places, strict=True)}
        path = f"{path}.{inner}"
    return names
