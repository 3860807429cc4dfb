"""Composed scenes, and readers of the published region features and annotations."""
