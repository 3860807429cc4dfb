"""Texts to word pieces: the tokenizer, and the inputs of every kind of task."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from .config import Config
from .corruption import Special
from .datasets.examples import Example, Pair, Question, Text

BOS, EOS, EOQ = "[unused0]", "[unused1]", "[unused2]"  # begin, end, end of a sentence; entries of every BERT vocabulary
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\[SEP\]\s*")
Row = dict[str, Any]


def hub_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a BERT checkpoint, with the three marks as special entries."""
    return with_marks(AutoTokenizer.from_pretrained(checkpoint))


def pruned_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerBase:
    """A tokenizer with the given word pieces alone."""
    return with_marks(BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True))


def with_marks(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tokenizer.add_special_tokens({"bos_token": BOS, "eos_token": EOS, "additional_special_tokens": [EOQ]})
    return tokenizer


def common_pieces(whole: PreTrainedTokenizerBase, texts: Iterable[str], count: int) -> list[str]:
    """The special entries, single characters, and commonest word pieces of texts, ``count`` in all."""
    seen: Counter[str] = Counter()
    for ids in whole(list(texts), add_special_tokens=False)["input_ids"]:
        seen.update(whole.convert_ids_to_tokens(ids))
    kept = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", BOS, EOS, EOQ]
    letters = [f"{prefix}{chr(c)}" for prefix in ("", "##") for c in (*range(97, 123), *range(48, 58))]
    kept += [piece for piece in letters if piece in whole.get_vocab()]
    ranked = sorted(seen, key=lambda piece: (-seen[piece], piece))
    return kept + [piece for piece in ranked if piece not in kept][: count - len(kept)]


def special(tokenizer: PreTrainedTokenizerBase) -> Special:
    """Ids of the special entries."""
    eoq = tokenizer.get_vocab()[EOQ]
    ids = {tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id}
    ids |= {tokenizer.mask_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, eoq}
    return Special(
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        eoq=eoq,
        mask=tokenizer.mask_token_id,
        all=tuple(sorted(ids)),
    )


# -- rows of a client's data ------------------------------------------------------------------------------------------


def rows_of(examples: Sequence[Example], config: Config, tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """The inputs of some examples: a row a text or pair, one or more windows a question."""
    marks = special(tokenizer)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    sentences = [list(filter(None, SENTENCE_END.split(example.source))) for example in examples]
    split = iter(pieces(tokenizer, [sentence for text in sentences for sentence in text]))
    assigned = [assigned_text([next(split) for _ in text], config.source_length, marks) for text in sentences]
    texts = [{"example": number, "text": text} for number, text in enumerate(assigned)]
    match examples[0]:
        case Text():
            ids = pieces(tokenizer, [example.source for example in examples])
            return [
                text | {"ids": [cls, *own[: config.text_length - 2], sep], "label": example.label}
                for text, own, example in zip(texts, ids, examples, strict=True)
                if isinstance(example, Text)
            ]
        case Pair():
            ids = pieces(tokenizer, [example.source for example in examples])
            targets = pieces(tokenizer, [example.target for example in examples if isinstance(example, Pair)])
            return [
                text
                | {"ids": [cls, *own[: config.source_length - 2], sep], "references": [example.target]}
                | {"target": [marks.bos, *target[: config.target_length - 2], marks.eos]}
                for text, own, target, example in zip(texts, ids, targets, examples, strict=True)
                if isinstance(example, Pair)
            ]
    asked = [example for example in examples if isinstance(example, Question)]
    questions = pieces(tokenizer, [example.question for example in asked])
    contexts = tokenizer(
        [x.context for x in asked], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    found = zip(texts, asked, questions, contexts["input_ids"], contexts["offset_mapping"], strict=True)
    return [
        text | window | {"references": list(example.answers), "passage": example.context}
        for text, example, question, context, offsets in found
        for window in windows(example, [cls, *question[: config.question_length], sep], context, offsets, config, sep)
    ]


def pieces(tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> list[list[int]]:
    """Word pieces of strings, without marks."""
    return tokenizer(list(strings), add_special_tokens=False, verbose=False)["input_ids"] if strings else []


def assigned_text(sentences: Sequence[Sequence[int]], length: int, marks: Special) -> list[int]:
    """``[BOS] sentence [EOQ] sentence ... [EOS]``, at most ``length`` word pieces."""
    ids = [x for sentence in sentences for x in (*sentence, marks.eoq)]
    return [marks.bos, *ids[:-1][: length - 2], marks.eos]


def windows(
    example: Question,
    head: list[int],
    ids: list[int],
    offsets: list[tuple[int, int]],
    config: Config,
    sep: int,
) -> list[Row]:
    """The windows of a question's context, each with the answer's first and last position; 0 if it is not in there.

    Of a row, ``begins`` and ``ends`` are the characters of the context that a position stands for, and -1 where none is
    to be predicted: where another window shows the word with more context around it.

    Args:
        head: the question's word pieces with their marks.
        ids, offsets: word pieces of the context, and the characters of each.
    """
    room = config.span_length - len(head) - 1
    step = max(room - config.stride, 1)
    firsts = [0, *(range(step, len(ids) - room + step, step) if len(ids) > room else ())]
    bounds = [(first, min(first + room, len(ids))) for first in firsts]
    best = [int(np.argmax([surroundings(k, *window) for window in bounds])) for k in range(len(ids))]
    answer_end = example.start + len(example.answers[0]) if example.answers else 0
    answered = [k for k, (a, b) in enumerate(offsets) if a < answer_end and b > example.start]
    found = []
    for number, (first, last) in enumerate(bounds):
        inside = bool(answered) and first <= answered[0] and answered[-1] < last
        shown = [best[k] == number for k in range(first, last)]
        found.append(
            {
                "ids": [*head, *ids[first:last], sep],
                "context": len(head),
                "start": len(head) + answered[0] - first if inside else 0,
                "end": len(head) + answered[-1] - first if inside else 0,
                "begins": [offsets[k][0] if own else -1 for k, own in zip(range(first, last), shown, strict=True)],
                "ends": [offsets[k][1] if own else -1 for k, own in zip(range(first, last), shown, strict=True)],
            }
        )
    return found


def surroundings(place: int, first: int, last: int) -> float:
    """How much context a window of the places first..last-1 shows around a place; below 0 if it is not in there."""
    if not first <= place < last:
        return -1.0
    return min(place - first, last - 1 - place) + 0.01 * (last - first)
