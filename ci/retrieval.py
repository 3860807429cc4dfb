"""``python -m ci.retrieval``: how well the offline towers find photographs by caption, for `shared/README.md`."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from shared.clip import load_clip
from shared.offline.cutouts import load_cutouts
from shared.support.files import write_json


def retrieval(image: Tensor, text: Tensor) -> dict[str, Any]:
    """How well N images and N texts, unit vectors (N, D) in the same order, find each other: recall, median rank."""
    scores = image @ text.T
    result: dict[str, Any] = {"n": len(image), "chance": {f"r{k}_percent": 100 * k / len(image) for k in (1, 5, 10)}}
    for direction, matrix in (("i2t", scores), ("t2i", scores.T)):
        rank = 1 + (matrix > matrix.diag()[:, None]).sum(1)
        recall = {f"r{k}_percent": 100 * (rank <= k).double().mean().item() for k in (1, 5, 10)}
        result[direction] = {**recall, "median_rank": rank.median().item()}
    return result


def stamp_retrieval() -> dict[str, Any]:
    """`retrieval` of captions and photographs by the offline towers: all stamps and, in "sounding", those with sound.

    Photographs are cut out, centred on a white square with a margin of 8 % of their long side.
    """
    clip = load_clip()
    results = []
    for stamps in (load_cutouts(), load_cutouts(sounding=True)):
        images = []
        for stamp in stamps:
            cutout = Image.fromarray(stamp.image())
            cutout = cutout.crop(cutout.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox())
            side = round(1.16 * max(cutout.size))
            square = Image.new("RGBA", (side, side))
            square.paste(cutout, ((side - cutout.width) // 2, (side - cutout.height) // 2))
            images.append(clip.preprocess(square))
        image = torch.cat([clip.encode_image(batch, normalize=True) for batch in torch.stack(images).split(32)])
        results.append(retrieval(image, clip.encode_text([stamp.caption for stamp in stamps], normalize=True)))
    return {**results[0], "sounding": results[1]}


if __name__ == "__main__":
    write_json(Path("ci/retrieval.json"), stamp_retrieval())
