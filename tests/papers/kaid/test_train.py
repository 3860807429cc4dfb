"""Kaid on a user's own files, from text to a student in ONNX; and what the offline domains hold."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from papers.kaid import data
from papers.kaid.acquisition.__main__ import main as acquire
from papers.kaid.acquisition.triples import SYNONYM
from papers.kaid.config import PRESETS, VARIANTS, Config
from papers.kaid.datasets.facts import Facts, infused_triples, shuffled
from papers.kaid.datasets.offline import Sizes, build
from papers.kaid.datasets.tasks import Domain, few_shot, known_triples, withheld_groups
from papers.kaid.eval import evaluate
from papers.kaid.predict import main
from papers.kaid.train import train
from shared import UserError
from shared.run import Run
from tests.papers.kaid.bad_input import build_shop

OWN = replace(
    PRESETS["smoke"],
    cache_states=False,
    masked_weight=1.0,
    batch_size=2,
    steps=2,
    student_steps=3,
    student_batch_size=2,
)


def run_in(folder: Path, start: Path | None = None) -> Run:
    return Run(folder, folder.parent / "cache", seed=0, tracker="none", start=start)


def finish(config: Config, variant: str, run: Run) -> dict[str, float]:
    """Train, evaluate, and leave what `predict` opens."""
    train(config, run)
    (run.folder / "config.json").write_text(json.dumps({"variant": variant, "config": asdict(config)}))
    return evaluate(config, run)


def test_a_users_files_from_text_to_a_student_in_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_shop(tmp_path / "mine")
    text = tmp_path / "text.txt"
    text.write_text("loafer: a low shoe\nflagon: a large bottle\nthe shoe\nthe shoe\nthe bottle\nthe bottle\n")
    assert acquire(["--corpus", str(text), "--out", str(tmp_path / "mine/shop/triples.tsv")]) == 0
    config = replace(OWN, data=str(tmp_path / "mine"))
    data.prepare(config, tmp_path / "cache")
    kaid = run_in(tmp_path / "kaid")
    metrics = finish(config, "kaid", kaid)
    assert {"category_accuracy_percent", "same_auc_percent"} <= metrics.keys()
    student = run_in(tmp_path / "student", kaid.folder)
    metrics = finish(replace(config, method="student"), "3L-kd-kaid", student)
    assert {"distilled_category_percent", "distilled_same_percent"} <= metrics.keys()
    capsys.readouterr()
    common = ["--run", str(kaid.folder), "--text", "do you sell loafers ?"]
    exported = tmp_path / "student.onnx"
    assert main([*common, "--student", str(student.folder), "--export", str(exported)]) == 0
    first = capsys.readouterr().out
    assert main([*common, "--onnx", str(exported)]) == 0
    second = capsys.readouterr().out
    of_student = next(line for line in first.splitlines() if "student" in line).partition("ms")[2]
    of_onnx = next(line for line in second.splitlines() if "ONNX" in line).partition("ms")[2]
    assert of_student == of_onnx and "clothing" in of_student
    assert main([*common, "--other", "a moccasin", "--student", str(student.folder)]) == 0
    assert "same: 0 1" in capsys.readouterr().out


def test_full_fine_tuning_of_encoder_and_head(tmp_path: Path) -> None:
    """The paper preset's way: a dense head, one sequence for a pair, everything but the adapters trained."""
    build_shop(tmp_path / "mine")
    config = replace(
        OWN,
        data=str(tmp_path / "mine"),
        tuning="full",
        matching="cross",
        pooling="first",
        dense_head=True,
        tuning_steps=1,
    )
    data.prepare(config, tmp_path / "cache")
    run = run_in(tmp_path / "kaid")
    assert {"category_accuracy_percent", "same_auc_percent"} <= finish(config, "kaid", run).keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shots": (2,)}, "--shots is"),
        ({"adapter_heads": 5}, "does not split over 5 heads"),
        ({"adapter_layers": (6, 3)}, "--adapter-layers is"),
        ({"relations": ("antonym",)}, "--relations is"),
        ({"tuning": "full"}, "--no-cache-states"),
        ({"embedded": ("films",)}, "--embedded is"),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        data.prepare(replace(PRESETS["smoke"], **changes), tmp_path)


# -- the embedded domains ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nature() -> Domain:
    return build("nature", Sizes(4, 4, 4, 4, 4, 4, 12))


def test_no_concept_is_in_two_splits(nature: Domain) -> None:
    for task in nature.tasks[::2]:
        groups = [{x.group for x in examples} for examples in task.splits.values()]
        assert all(not a & b for k, a in enumerate(groups) for b in groups[k + 1 :]) and all(groups)


def test_no_triple_names_a_class(nature: Domain) -> None:
    mined = infused_triples(replace(PRESETS["smoke"], knowledge="mined"), nature, 0)["relations"]
    phrases = {phrase for triple in (*nature.triples, *mined) for phrase in (triple.head, triple.tail)}
    assert phrases and not phrases & {*nature.tasks[0].classes, "organism", "animal", "plant", "vertebrate"}


def test_no_triple_has_a_withheld_term(nature: Domain) -> None:
    known = known_triples(nature, seed=3)
    phrases = {phrase for triple in known for phrase in (triple.head, triple.tail)}
    for task in nature.tasks[::2]:
        withheld = withheld_groups(task, seed=3)
        tested = task.splits["test"]
        assert {x.group for x in tested} - withheld and withheld & {x.group for x in tested}
        assert not phrases & {term for x in tested if x.group in withheld for term in x.terms}
    assert 0 < len(known) < len(nature.triples)


def test_pairs_cannot_be_told_by_their_letters(nature: Domain) -> None:
    for example in nature.tasks[-1].splits["test"]:
        assert example.other is not None and example.text.split()[-1] != "{}"
        own, other = example.terms[0].lower(), example.other.lower()
        assert own not in other


def test_shuffled_pairs_have_the_same_phrases(nature: Domain) -> None:
    found = shuffled(nature.triples, seed=0)
    assert sorted(x.head for x in found) == sorted(x.head for x in nature.triples)
    assert sorted(x.tail for x in found) == sorted(x.tail for x in nature.triples)
    assert len(set(found) & set(nature.triples)) < 0.1 * len(found)


def test_labels_are_drawn_by_the_seed(nature: Domain) -> None:
    task = nature.tasks[0]
    drawn = [few_shot(task, 2, seed, 0) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 2 * len(task.classes)


def test_knowledge_of_each_kind(nature: Domain) -> None:
    for knowledge in ("triples", "mined", "shuffled", "glosses", "glosses-no-genus"):
        config = replace(PRESETS["smoke"], knowledge=knowledge)  # type: ignore[arg-type]
        assert infused_triples(config, nature, 0)["relations"]
    config = replace(PRESETS["smoke"], relations=(SYNONYM,), stacks="per-relation")
    assert {x.relation for x in infused_triples(config, nature, 0)[SYNONYM]} == {SYNONYM}


def test_every_related_phrase_is_a_positive(nature: Domain) -> None:
    facts = Facts(nature.triples, ("{}",), "[MASK]", lambda phrase: [1] * len(phrase.split()))
    triple = nature.triples[0]
    ids = torch.arange(len(facts.phrases))
    (row,) = facts.related_to([triple.head], ids)
    assert {facts.phrases[k] for k in row.nonzero().flatten().tolist()} == facts.related[triple.head]


def test_every_variant_changes_fields_that_there_are() -> None:
    for variant in VARIANTS.values():
        replace(PRESETS["cpu"], **variant.changes)
