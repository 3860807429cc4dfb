"""Three stand-in domains out of WordNet and rated snippets: products, civic (persons), nature.

Products stand for the paper's E-commerce, civic for Government, nature for Film & TV (questions about documentaries).
The labels are ancestors in the taxonomy, and the knowledge stops below them: no triple names a class or anything above.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..acquisition.acquire import acquire
from ..acquisition.triples import HYPERNYM, SYNONYM, Triple
from .tasks import Domain, Example, Task
from .wordnet import ancestors, children, class_node, descendants, snippets, synsets

LEMMAS = 2  # of a concept that are used
NEAREST = 2  # hypernyms of a term
LONGEST = 5  # words of a phrase


@dataclass(frozen=True)
class Recipe:
    """A domain before it is built."""

    kinds: tuple[str, ...]
    classes: tuple[tuple[str, str], ...]
    """Kind and first lemma of each class."""
    infusion: tuple[str, ...]
    train: str
    test: str
    other: str
    """Sentence of the second term of a pair."""


@dataclass(frozen=True)
class Sizes:
    """Concepts of each class, and pairs of concepts, in every split."""

    train: int
    validation: int
    test: int
    pairs_train: int
    pairs_validation: int
    pairs_test: int
    snippets: int
    """Test snippets of a sentiment task."""


_NAMES = (
    [
        "clothing",
        "furniture",
        "vehicle",
        "container",
        "weapon",
        "tool",
        "musical_instrument",
        "building",
        "fabric",
        "drug",
    ],
    ["performer", "scientist", "leader", "worker", "criminal", "athlete", "writer", "relative", "health_professional"],
    ["bird", "fish", "insect", "mammal", "reptile"],
    ["tree", "herb", "shrub", "fungus"],
)
RECIPES = {
    "products": Recipe(
        ("artifact", "food", "substance"),
        (*(("artifact", x.replace("_", " ")) for x in _NAMES[0]), ("food", "beverage")),
        ("{}", "where can I find a good {} ?"),
        "do you sell {} ?",
        "how much is the {} ?",
        "what does a {} cost ?",
    ),
    "civic": Recipe(
        ("person",),
        tuple(("person", x.replace("_", " ")) for x in _NAMES[1]),
        ("{}", "is there a rule for a {} ?"),
        "I would like to speak with the {}",
        "who is the {} in this case ?",
        "can you tell me about the {} here ?",
    ),
    "nature": Recipe(
        ("animal", "plant"),
        (*(("animal", x) for x in _NAMES[2]), *(("plant", x) for x in _NAMES[3])),
        ("{}", "is there a scene with a {} in it ?"),
        "which film is about the {} ?",
        "where was the {} filmed ?",
        "when can I watch the part with the {} ?",
    ),
}
SENTIMENT = {"products": ("amazon", ("negative", "neutral", "positive")), "nature": ("film", ("negative", "positive"))}


MATCHING = ("different", "same")


def outlines() -> dict[str, list[Task]]:
    """The tasks of every domain without their examples."""
    found = {}
    for name, recipe in RECIPES.items():
        found[name] = [Task(f"cls_{name}", tuple(lemma for _, lemma in recipe.classes), {})]
        if name in SENTIMENT:
            source, classes = SENTIMENT[name]
            found[name].append(Task(f"cls_{source}", classes, {}, is_control=True))
        found[name].append(Task(f"mat_{name}", MATCHING, {}, is_matching=True))
    return found


def build(name: str, sizes: Sizes) -> Domain:
    """A domain; the same for every seed."""
    recipe = RECIPES[name]
    rng = np.random.default_rng(len(name))
    nodes = [class_node(*x) for x in recipe.classes]
    above = set(nodes).union(*(ancestors(node) for node in nodes))
    terms = _class_terms(recipe, nodes, above)
    classification = _classification(name, recipe, terms, above, sizes, rng)
    used = {x.group for examples in classification.splits.values() for x in examples if x.group is not None}
    matching, beside = _matching(name, recipe, used, above, sizes, rng)
    concepts = [
        *(x.group for task in (classification, matching) for split in task.splits.values() for x in split),
        *beside,
    ]
    triples = _triples(sorted({n for n in concepts if n is not None}), above)
    owners = {_clean(synsets()[n].lemmas[0]): n for n in sorted({n for n in concepts if n is not None})}
    tasks = [classification, matching]
    if name in SENTIMENT:
        tasks.insert(1, _sentiment(*SENTIMENT[name], sizes, rng))
    phrases = sorted({phrase for triple in triples for phrase in (triple.head, triple.tail)})
    return Domain(
        name,
        tuple(tasks),
        tuple(triples),
        recipe.infusion,
        tuple(_mined(recipe, above)),
        tuple(recipe.train.format(phrase) for phrase in phrases),
        {term: _shortened(synsets()[n].gloss) for term, n in owners.items()},
        {term: _without_genus(n) for term, n in owners.items()},
    )


def corpus() -> list[str]:
    """The text that is mined: a dictionary's lines (term: definition), and the snippets."""
    return [f"{_clean(x.lemmas[0])}: {x.gloss}" for x in synsets()] + [x.text for x in snippets()]


# -- tasks ------------------------------------------------------------------------------------------------------------


def _class_terms(recipe: Recipe, nodes: Sequence[int], above: set[int]) -> dict[int, list[int]]:
    """Leaf concepts of each class that have one class alone, a hypernym below it, and no name of it in theirs."""
    taken: dict[str, int] = {}
    found: dict[int, list[int]] = {}
    for label, node in enumerate(nodes):
        names = {word for lemma in synsets()[node].lemmas for word in [lemma.lower()]}
        found[label] = []
        for number in sorted(descendants(node)):
            term = _clean(synsets()[number].lemmas[0])
            if (
                not children()[number]
                and sum(other in ancestors(number) for other in nodes) == 1
                and _hypernyms(number, above)
                and not any(name in lemma.lower() for name in names for lemma in synsets()[number].lemmas)
                and len(term.split()) <= LONGEST
                and term not in taken
            ):
                taken[term] = label
                found[label].append(number)
    return found


def _classification(
    name: str, recipe: Recipe, terms: dict[int, list[int]], above: set[int], sizes: Sizes, rng: np.random.Generator
) -> Task:
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for label, numbers in terms.items():
        order = [numbers[k] for k in rng.permutation(len(numbers))]
        for split, count in (("train", sizes.train), ("validation", sizes.validation), ("test", sizes.test)):
            chosen, order = order[:count], order[count:]
            template = recipe.train if split == "train" else recipe.test
            splits[split] += [
                Example(
                    label,
                    template.format(_clean(synsets()[n].lemmas[0])),
                    group=n,
                    terms=_lemmas(n),
                    facts=(_facts(n, above),),
                    is_name=synsets()[n].is_instance,
                )
                for n in chosen
            ]
    return Task(f"cls_{name}", tuple(lemma for _, lemma in recipe.classes), {k: tuple(x) for k, x in splits.items()})


def _matching(
    name: str, recipe: Recipe, used: set[int], above: set[int], sizes: Sizes, rng: np.random.Generator
) -> tuple[Task, set[int]]:
    """Pairs: a concept's two names, and its name with that of another concept right below the same hypernym.

    Returns: the task, and the other concepts.
    """
    numbers = [n for n, x in enumerate(synsets()) if x.kind in recipe.kinds and n not in used]
    order = iter(rng.permutation(len(numbers)))
    splits: dict[str, tuple[Example, ...]] = {}
    taken = set(used)
    beside: set[int] = set()
    counts = (("train", sizes.pairs_train), ("validation", sizes.pairs_validation), ("test", sizes.pairs_test))
    for split, count in counts:
        examples: list[Example] = []
        while len(examples) < 2 * count and (k := next(order, None)) is not None:
            number = numbers[k]
            found = None if number in taken or number in above else _pair(number, taken | above, rng)
            if found is None or not _hypernyms(number, above):
                continue
            first, synonym, sibling = found
            taken |= {number, sibling}
            beside.add(sibling)
            terms = (*_lemmas(number), *_lemmas(sibling))
            sentence = (recipe.train if split == "train" else recipe.test).format(first)
            own = _facts(number, above)
            examples += [
                Example(label, sentence, recipe.other.format(term), number, terms, (own, _facts(concept, above)))
                for label, term, concept in (
                    (1, synonym, number),
                    (0, _clean(synsets()[sibling].lemmas[0]), sibling),
                )
            ]
        splits[split] = tuple(examples)
    return Task(f"mat_{name}", MATCHING, splits, is_matching=True), beside


def _pair(number: int, taken: set[int], rng: np.random.Generator) -> tuple[str, str, int] | None:
    """Two names of a concept, and a sibling, of which no two can be told from their letters."""
    names = [_clean(x) for x in synsets()[number].lemmas]
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :] if _dissimilar(a, b)]
    siblings = sorted({n for parent in synsets()[number].parents for n in children()[parent]} - taken - {number})
    for k in rng.permutation(len(siblings)):
        other = _clean(synsets()[siblings[k]].lemmas[0])
        for a, b in pairs:
            if _dissimilar(a, other) and len(other.split()) <= LONGEST:
                return a, b, siblings[k]
    return None


def _dissimilar(a: str, b: str) -> bool:
    """Without a common word of four letters, a common beginning of a word, or a spelling that is nearly the same."""
    words_a, words_b = re.findall(r"\w{3,}", a.lower()), re.findall(r"\w{3,}", b.lower())
    if not words_a or not words_b or max(len(a.split()), len(b.split())) > LONGEST:
        return False
    together = any(x[:4] == y[:4] or x in y or y in x for x in words_a for y in words_b)
    return not together and _edits(a.lower(), b.lower()) > 2


def _edits(a: str, b: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def _sentiment(source: str, classes: tuple[str, ...], sizes: Sizes, rng: np.random.Generator) -> Task:
    """Sentiment of snippets, split by the review that they are part of (film snippets stand alone)."""
    rows = [x for x in snippets() if x.source == source]
    labelled = [(x, -1 if x.valence < -0.5 else 1 if x.valence > 0.5 else 0) for x in rows]
    if len(classes) == 2:
        labelled = [(x, sign) for x, sign in labelled if sign]
    documents = list(dict.fromkeys(x.document for x, _ in labelled))
    position = dict(zip((documents[k] for k in rng.permutation(len(documents))), range(len(documents)), strict=True))
    labelled.sort(key=lambda x: position[x[0].document])
    label = {-1: 0, 0: 1, 1: len(classes) - 1}
    splits, taken = {}, 0
    counts = {"train": 6 * sizes.train, "validation": sizes.snippets // 2, "test": sizes.snippets}
    for split, count in counts.items():
        end = taken + count
        while end < len(labelled) and labelled[end][0].document == labelled[end - 1][0].document:
            end += 1  # a review stays in one split
        splits[split] = tuple(Example(label[sign], x.text) for x, sign in labelled[taken:end])
        taken = end
    return Task(f"cls_{source}", classes, splits, is_control=True)


# -- knowledge --------------------------------------------------------------------------------------------------------


def _triples(concepts: Sequence[int], above: set[int]) -> list[Triple]:
    """Hypernyms and synonyms of the concepts and of everything between them and the classes."""
    between = {parent for n in concepts for parent in ancestors(n)} - above
    found: dict[Triple, None] = {}
    for number in (*concepts, *sorted(between - set(concepts))):
        first, *others = _lemmas(number)
        for hypernym in _hypernyms(number, above):
            found[Triple(first, HYPERNYM, hypernym)] = None
            if others:
                found[Triple(others[0], HYPERNYM, hypernym)] = None
        for other in others:
            found[Triple(first, SYNONYM, other)] = None
    names = {_clean(lemma) for n in above for lemma in synsets()[n].lemmas}
    return [x for x in found if x.head != x.tail and x.head not in names and x.tail not in names]


def _mined(recipe: Recipe, above: set[int]) -> list[Triple]:
    """Triples that the rules find in the definitions of the domain's kinds, without the classes' names."""
    names = {_clean(lemma).lower() for n in above for lemma in synsets()[n].lemmas}
    lines = [f"{_clean(x.lemmas[0])}: {x.gloss}" for x in synsets() if x.kind in recipe.kinds]
    return [x for x in acquire(lines).triples if x.head not in names and x.tail not in names]


def _hypernyms(number: int, above: set[int]) -> list[str]:
    """Names of the nearest concepts above, as far as they are below every class."""
    found: list[int] = []
    level = list(synsets()[number].parents)
    while level and len(found) < NEAREST:
        level = [n for n in level if n not in above]
        found += [n for n in level if n not in found]
        level = [parent for n in level for parent in synsets()[n].parents]
    return [_clean(synsets()[n].lemmas[0]) for n in found[:NEAREST]]


def _facts(number: int, above: set[int]) -> str:
    return ", ".join(_hypernyms(number, above))


def _lemmas(number: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_clean(x) for x in synsets()[number].lemmas[:LEMMAS]))


def _clean(lemma: str) -> str:
    return re.sub(r"\(\w+\)$", "", lemma).strip()


def _shortened(gloss: str) -> str:
    return " ".join(gloss.split()[:16])


def _without_genus(number: int) -> str:
    """The definition without the words of any name of what is above."""
    names = {word.lower() for n in ancestors(number) for lemma in synsets()[n].lemmas for word in lemma.split()}
    kept = [word for word in synsets()[number].gloss.split() if _singular(re.sub(r"\W", "", word.lower())) not in names]
    return " ".join(kept[:16])


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
