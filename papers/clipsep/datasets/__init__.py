"""Sources of clips: the paper's videos, and the recordings and solos that are embedded here."""
