"""The Hugging Face hub: asked without the messages of its client, and its errors in a few words."""

import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged meanwhile: the hub's client logs each of its retries twice. Errors are raised as ever."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def failure(error: BaseException) -> str | None:
    """The reason why the hub did not give what was asked for, in a few words; None for an error of another origin."""
    errors = sys.modules.get("huggingface_hub.errors")  # what was never imported raised nothing
    cause: BaseException | None = error
    while cause is not None and errors is not None:
        if isinstance(cause, errors.GatedRepoError):
            return "the Hugging Face hub gives it only to accounts that accepted its terms (run: hf auth login)"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return "the Hugging Face hub has nothing of that name, or does not show it without a login"
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            return "the Hugging Face hub cannot be reached"
        if isinstance(cause, ConnectionError) and "on the Hub" in str(cause):  # what datasets makes of it
            return "the Hugging Face hub cannot be reached"
        if isinstance(cause, errors.EntryNotFoundError | errors.RevisionNotFoundError):
            return "the Hugging Face hub has no such file there"
        if isinstance(cause, errors.HfHubHTTPError):
            return f"the Hugging Face hub answered with {' '.join(str(cause).split())[:100]}"
        cause = cause.__cause__ or cause.__context__
    return None
