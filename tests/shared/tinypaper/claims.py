"""Claims."""

from shared.paper import Claim, Column, Paper, Reported

PAPER = Paper("A tiny paper", "Nobody", "nowhere", "0000.00000", "a plane through points")
COLUMNS = (Column("error", "error"),)
CLAIMS = (Claim("dropout-hurts", 1, "Dropout does not help.", "nowhere", "error", "tinypaper", "plain"),)
REPORTED: tuple[Reported, ...] = ()
