"""The paper's claims as comparisons, fixed before the final seeds are run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="The paper's title",
    authors="",
    venue="",
    arxiv="",
    datasets=(),  # real datasets that data.py reads, by the names of README.md or LAYOUT
    reconstruction="",  # why it is one, in a sentence; empty where official code decides
    summary="the method in half a line",
    conclusion="The verdict in three to five plain sentences, without numbers.",
)
COLUMNS = (Column("error", "error", headline=True),)
CLAIMS = (
    Claim(
        "bias-helps", 1, "A plane needs a bias.", "abstract", "error", "newpaper", "no-bias", "lower", headline=True
    ),
)  # fmt: skip
REPORTED: tuple[Reported, ...] = ()
