"""A baseline without an encoder: character n-grams, and words that two sentences share."""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ..datasets.tasks import Example


def overlap_logits(train: Sequence[Example], evaluated: Sequence[Example], classes: int) -> np.ndarray:
    """Logits (N, C) of logistic regression on n-grams of a sentence, or on the n-grams' cosine of a pair."""
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectoriser.fit([text for example in train for text in (example.text, example.other or "") if text])

    def inputs(examples: Sequence[Example]) -> np.ndarray:
        first = vectoriser.transform([example.text for example in examples])
        if train[0].other is None:
            return first
        second = vectoriser.transform([example.other or "" for example in examples])
        return np.asarray(first.multiply(second).sum(1))

    regression = LogisticRegression(C=10, max_iter=500).fit(inputs(train), [example.label for example in train])
    logits = np.full((len(evaluated), classes), -np.inf)
    logits[:, regression.classes_] = np.log(regression.predict_proba(inputs(evaluated)) + 1e-12)
    return np.maximum(logits, -1e3)
