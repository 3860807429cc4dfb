"""The paper's claims as comparisons, fixed before the final seeds are run."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper(
    title="The paper's title",
    authors="",
    venue="",
    arxiv="",
    summary="the method in half a line",
    conclusion="The verdict in three to five plain sentences, without numbers.",
)
COLUMNS = (Column("error", "error", headline=True),)
CLAIMS = (
    Claim(
        "bias-helps", 1, "A plane needs a bias.", "abstract", "error", "soho", "no-bias", "lower", headline=True
    ),
)  # fmt: skip
REPORTED: tuple[Reported, ...] = ()
