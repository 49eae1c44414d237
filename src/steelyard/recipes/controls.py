"""The controls that need no language model. A verdict without them is not worth having."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from steelyard.core import Answer, Json, Query, Recipe, Task
from steelyard.recipes.prompt import target_text

WORD = r"(?u)\b\w+\b"  # one-letter words too, which scikit-learn leaves out
Predict = Callable[[Sequence[str]], list[Json]]


class ControlSystem:
    """A control as a System: a function from inputs to values."""

    def __init__(self, recipe: Recipe, predict: Predict) -> None:
        self.recipe = recipe
        self._predict = predict

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """The control's value for one input, whoever asks and whenever."""
        return self.answer_many([Query(input, user, time)])[0]

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """The control's value for each query."""
        values = self._predict([query.input for query in queries])
        return [Answer(value=v, text=target_text(v)) for v in values]


def build_majority(recipe: Recipe, task: Task) -> ControlSystem:
    """Always the commonest training target; of equally common ones, the first."""
    targets = {target_text(example.target): example.target for example in task.train}
    counts = Counter(target_text(example.target) for example in task.train)
    commonest = targets[counts.most_common(1)[0][0]]
    return ControlSystem(recipe, lambda inputs: [commonest] * len(inputs))


def load_libraries() -> None:
    """Load what controls are fitted with: that is no part of what setting one up takes."""
    for module in ("sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.pipeline"):
        importlib.import_module(module)


def build_tfidf(recipe: Recipe, task: Task) -> ControlSystem:
    """Bag of words: a linear model over labels, the nearest example's target otherwise."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [example.input for example in task.train]
    if not any(re.search(WORD, text) for text in texts):
        return build_majority(recipe, task)
    # Words and word pairs for labels; sublinear counts. Source: scikit-learn's own text guide.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    if task.output.type == "label" and len({example.target for example in task.train}) > 1:
        model = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=1000))
        model.fit(texts, [example.target for example in task.train])
        return ControlSystem(recipe, lambda inputs: [str(v) for v in model.predict(list(inputs))])
    vectors = vectorizer.fit_transform(texts)

    def nearest(inputs: Sequence[str]) -> list[Json]:
        similarity = (vectorizer.transform(list(inputs)) @ vectors.T).toarray()
        return [task.train[i].target for i in np.argmax(similarity, axis=1)]

    return ControlSystem(recipe, nearest)
