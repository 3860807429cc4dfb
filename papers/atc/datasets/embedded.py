"""The offline federation: six small tasks from WordNet and from rated sentences, embedded as parquet."""

import io

import pyarrow.parquet

from shared.offline.packs import PACKS, read_pack

from .examples import Example, Kind, Pair, Question, Text

TASKS: dict[str, tuple[Kind, int]] = {
    "movies": ("classification", 2),
    "products": ("classification", 2),
    "tweets": ("classification", 2),
    "topics": ("classification", 8),
    "spans": ("span", 2),
    "definitions": ("generation", 2),
}
LABELS = {
    **dict.fromkeys(("movies", "products", "tweets"), ("negative", "positive")),
    "topics": ("artifact", "person", "plant", "animal", "act", "communication", "state", "location"),
}
SHA256 = {
    "definitions_test": "35d0dce4f668a451a9c2846fcce0c2028c19951343ab0c28bda5087a65be2737",
    "definitions_train": "692a0813b01f2314d3d1db29c31bf39a682fe3b949d09fe408bb279ffbbac650",
    "movies_test": "ca6630b2b75b06d44b39dea35bfbcf8c240524165f4e49346fca49a8b69eb6b1",
    "movies_train": "cb6b2558c2e355d237a4307866de8eb490ddad98582337dc3a0cc3a14a7daf95",
    "products_test": "3602f96706f74c6dca90cd1a5ee461bb07f0bd996942152d170a9faceb1b94a5",
    "products_train": "39fc5baab5d47ee2a07f48c0924b7386919d161d45bb3f7ef23e84f26e29bef0",
    "spans_test": "c4ef864fce9a8875249a7a1dff9e8d1bcd75a00dc1a089443a20c2022eb522d0",
    "spans_train": "99bedebc54bfb96b9f9cd47105fd6b024ad51bb1b174a22298fcaaa34f8297f9",
    "topics_test": "3a0f5b75c8dfb81c9c9537471ed9dc18bd86317ce48c2efda28374205aa23bdd",
    "topics_train": "beeb252e8772fff1abf21c2901e2890241056f5feb37e001782f204c4099b1e5",
    "tweets_test": "f5d291e923a370a0a33678ddb1b2900aed512d0cd554d073bb0575209536a8b8",
    "tweets_train": "74851350074f9c34789a338d423491eb7c03adc3b6d4c5ec5a82a77ffeeb340e",
}


def read(task: str, part: str) -> list[Example]:
    """All items of a task, ``part`` "train" or "test", in the order of the pack. Raises UserError if it is damaged."""
    name = f"{task}_{part}"
    content = read_pack(PACKS / "federation" / f"{name}.parquet", SHA256[name])
    rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    match TASKS[task][0]:
        case "classification":
            return [Text(row["text"], row["label"]) for row in rows]
        case "span":
            return [Question(row["question"], row["context"], (row["answer"],), row["start"]) for row in rows]
        case "generation":
            return [Pair(row["source"], row["target"]) for row in rows]
