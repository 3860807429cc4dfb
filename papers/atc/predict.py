"""Run a client's trained model on texts: ``make predict PAPER=atc ARGS="--text 'a small bird that sings'"``.

A classification client names the class of a text. A span client answers ``question<tab>context``. A generation client
writes a text.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from shared import UserError
from shared.reproduce.keys import cache_folder
from shared.support.command_line import can_write, command
from shared.support.files import write_atomic
from shared.support.weights import load_weights, open_trained_run

from .build import client_file, trained
from .config import Config
from .data import Shard, collate, labels_of, task_of, tokenizer_of, write_embeddings
from .datasets.examples import Example, Pair, Question, Text
from .predictions import answers, generated
from .texts import rows_of

COMMITTED = Path(__file__).with_name("weights") / "atc.json"
COMMITTED_CLIENT = 4  # of the committed weights: topics


@dataclass(frozen=True)
class Options:
    """Classify, answer or write with the model of one client."""

    text: str | None = None
    """Text to work on; for a client with questions "question<tab>context"."""
    input: Path | None = None
    """Text file with a text on each line, in place of --text."""
    out: Path | None = None
    """File for the predictions, one a line; they are printed, too."""
    client: int = COMMITTED_CLIENT
    """Number of the client, from 0, in the order of the run's option clients."""
    run: Path | None = None
    """Folder of a trained run; default: the committed weights, which hold client 4 (topics) alone."""
    debug: bool = False
    """Show the traceback of an error."""


def predict(options: Options) -> None:
    """Read the texts, print a prediction for each."""
    texts = given_texts(options)
    run = options.run or COMMITTED
    file = client_file(options.client)
    with open_trained_run(run, "atc", Config, file) as (_, config, weights):
        if not 0 <= options.client < len(config.clients):
            raise UserError(f"--client {options.client}: the run has clients 0 to {len(config.clients) - 1}.")
        cache = cache_folder(__package__ or "atc", Path("runs"))
        if config.checkpoint == "offline":
            write_embeddings(config, cache)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = trained(config, load_weights(weights), cache).to(device)
    if options.out:
        can_write(options.out)
    name = config.clients[options.client]
    kind, labels = task_of(config, name)
    tokenizer = tokenizer_of(config, cache)
    items = Shard(
        kind, labels, rows_of([example(kind, text) for text in texts], config, tokenizer), tokenizer.pad_token_id
    )
    match kind:
        case "classification":
            batch = collate(items, range(len(items)), device)
            states = network.encode(batch["ids"], batch["mask"], batch["types"])
            found = [labels_of(config, name)[k] for k in network.classify(states, batch["mask"]).argmax(-1).tolist()]
        case "span":
            found = list(answers(config, network, items, device).values())
        case "generation":
            found = generated(config, network, items, range(len(items)), tokenizer, device)
    if options.out:
        write_atomic(options.out, "".join(f"{line}\n" for line in found).encode())
    for text, line in zip(texts, found, strict=True):
        print(f"{line}\t{text}")


def given_texts(options: Options) -> list[str]:
    """The texts of --text or of the lines of --input. Raises UserError if there is none, or both are given."""
    if (options.text is None) == (options.input is None):
        raise UserError("Give --text or --input, and not both.")
    if options.text is not None:
        texts = [options.text]
    else:
        path = Path(str(options.input))
        try:
            texts = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not text in UTF-8 ({error}); expected a text on each line.") from None
        if options.out and options.out.resolve() == path.resolve():
            raise UserError(f"--out {options.out} would overwrite the input; give another name.")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise UserError(f"{options.input or '--text'} is empty; expected a text on each line.")
    return texts


def example(kind: str, text: str) -> Example:
    """A user's text as an item of a task. Raises UserError if a question has no context."""
    if kind == "classification":
        return Text(text, 0)
    if kind == "generation":
        return Pair(text, "")
    question, tab, context = text.partition("\t")
    if not tab or not context.strip():
        raise UserError(f"{text!r} has no context; expected a question, a tab, and the passage that answers it.")
    return Question(question, context, (), 0)


def main(arguments: Sequence[str] | None = None) -> int:
    return command(Options, predict, f"python -m {__package__}.predict", arguments)


if __name__ == "__main__":
    sys.exit(main())
