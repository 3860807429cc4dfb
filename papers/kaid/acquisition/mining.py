"""Phrases, hypernyms and synonyms out of unlabelled text and query logs, by rules: no label is used.

Which tools K-AID mines with could not be read; these rules are the usual ones.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from .triples import HYPERNYM, SYNONYM, Triple

OPENING = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "any",
        "some",
        "every",
        "each",
        "of",
        "with",
        "for",
        "in",
        "on",
        "by",
        "his",
        "her",
        "their",
        "its",
    ]
)
"""Words after which a noun phrase may begin."""
MASS = re.compile(
    r"^(?:\([^)]*\)\s*)?(?:(?:a|an|the|any|one|some)\s+)?(?:(?:of|various|several|many|numerous)\s+)*", re.I
)
KIND = re.compile(r"^(?:kind|type|sort|species|genus|breed|variety|form)s?\s+of\s+(?:(?:a|an|the)\s+)?", re.I)
SUCH_AS = re.compile(r"([\w' -]+?),? (?:such as|including|especially) ([\w', -]+)")
AND_OTHER = re.compile(r"([\w', -]+?),? (?:and|or) other ([\w' -]+)")
ALSO_CALLED = re.compile(r"([\w' -]+?),? \(?(?:also called|also known as|also spelled) ([\w' -]+)")
DEFINITION = re.compile(r"^([^:]{1,60}): (.+)$")
LONGEST = 5  # words of a phrase


def mine_phrases(lines: Iterable[str], least: int) -> Counter[str]:
    """Noun phrases of up to five words and how often they occur: runs of content words after a determiner, and their
    endings. What a line defines ("loafer: a low shoe") is a phrase, too.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        if defined := DEFINITION.match(line):
            counts[defined[1].lower()] += least
        for run in _runs(line):
            for start in range(max(0, len(run) - LONGEST), len(run)):
                counts[_singular(" ".join(run[start:]))] += 1
    return Counter({phrase: n for phrase, n in counts.items() if n >= least and len(phrase) > 2})


def compound_heads(phrases: Mapping[str, int]) -> list[Triple]:
    """Hypernyms by the compound-head rule: a phrase and its longest ending that is a phrase, too."""
    found = []
    for phrase in phrases:
        words = phrase.split()
        for start in range(1, len(words)):
            if (tail := " ".join(words[start:])) in phrases:
                found.append(Triple(phrase, HYPERNYM, tail))
                break
    return found


def definitions(lines: Iterable[str], phrases: Mapping[str, int]) -> list[Triple]:
    """Hypernyms by the definition rule: a term and the last noun phrase of the first part of its definition."""
    found = []
    for line in lines:
        if defined := DEFINITION.match(line):
            genus = KIND.sub("", MASS.sub("", defined[2]))
            words = list(_until_stop(genus))
            for start in range(max(0, len(words) - LONGEST), len(words)):
                if (tail := _singular(" ".join(words[start:]))) in phrases:
                    found.append(Triple(defined[1].lower(), HYPERNYM, tail))
                    break
    return found


def patterns(lines: Iterable[str], phrases: Mapping[str, int]) -> list[Triple]:
    """Hypernyms by Hearst's patterns ("shoes such as loafers", "loafers and other shoes")."""
    found = []
    for line in lines:
        for pattern, upper in ((SUCH_AS, 1), (AND_OTHER, 2)):
            for match in pattern.finditer(line.lower()):
                above = _known(match[upper].split(","), phrases, ending=upper == 1)[:1]
                below = _known(re.split(r",|\band\b|\bor\b", match[3 - upper]), phrases, ending=True)
                found += [Triple(x, HYPERNYM, y) for x in below for y in above]
    return found


def aliases(lines: Iterable[str], phrases: Mapping[str, int]) -> list[Triple]:
    """Synonyms by "also called" and the like."""
    found = []
    for line in lines:
        for match in ALSO_CALLED.finditer(line.lower()):
            names = [_known([match[k]], phrases, ending=k == 1) for k in (1, 2)]
            found += [Triple(a, SYNONYM, b) for a in names[0] for b in names[1]]
    return found


def same_answer(clicks: Sequence[tuple[str, str]], phrases: Mapping[str, int]) -> list[Triple]:
    """Synonyms of a query log: queries (query, answer) that led to one answer and differ in a phrase alone."""
    queries: dict[str, list[str]] = defaultdict(list)
    for query, answer in clicks:
        queries[answer].append(query.lower())
    found: Counter[Triple] = Counter()
    for together in queries.values():
        distinct = sorted(set(together))
        for k, first in enumerate(distinct):
            for second in distinct[k + 1 :]:
                a, b = _difference(first.split(), second.split())
                if a in phrases and b in phrases:
                    found[Triple(a, SYNONYM, b)] += 1
    return list(found)


def _difference(first: list[str], second: list[str]) -> tuple[str, str]:
    """Each query without their common beginning and end."""
    shorter = min(len(first), len(second))
    left = next((k for k in range(shorter) if first[k] != second[k]), shorter)
    right = next((k for k in range(shorter - left) if first[-1 - k] != second[-1 - k]), shorter - left)
    return tuple(_singular(" ".join(x[left : len(x) - right])) for x in (first, second))  # type: ignore[return-value]


def _runs(line: str) -> Iterator[list[str]]:
    """Content words in a row, right after a word that opens a noun phrase."""
    words = re.findall(r"[A-Za-z][\w'-]*|[^\w\s]", line.lower())
    k = 0
    while k < len(words):
        if words[k] in OPENING:
            run = list(_until_stop(words[k + 1 :]))
            if run:
                yield run
            k += len(run)
        k += 1


def _until_stop(text: str | Sequence[str]) -> Iterator[str]:
    """Words up to the first stop word, mark, or (after the first word) verb form."""
    words = re.findall(r"[A-Za-z][\w'-]*|[^\w\s]", text.lower()) if isinstance(text, str) else text
    for number, word in enumerate(words):
        if word in ENGLISH_STOP_WORDS or not word[0].isalpha():
            return
        if number and word.endswith(("ing", "ed")) and (number + 1 == len(words) or words[number + 1] in OPENING):
            return
        yield word


def _known(texts: Sequence[str], phrases: Mapping[str, int], ending: bool) -> list[str]:
    """The longest phrase at the end (or the beginning) of each text."""
    found = []
    for text in texts:
        words = text.split()
        spans = [words[-n:] if ending else words[:n] for n in range(min(LONGEST, len(words)), 0, -1)]
        names = (_singular(" ".join(span)) for span in spans)
        found += [name for name in names if name in phrases][:1]
    return found


def _singular(phrase: str) -> str:
    if phrase.endswith("ies") and len(phrase) > 5:
        return f"{phrase[:-3]}y"
    return (
        phrase[:-1] if phrase.endswith("s") and not phrase.endswith(("ss", "us", "is")) and len(phrase) > 3 else phrase
    )
