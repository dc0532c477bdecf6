"""A comparison on disk: it is laid out whole, read back, and refused if it has changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_comparison import BUDGETS, CORPUS, SMALL

from handgrad.data import Corpus, load_text
from handgrad.experiments import Budget, Measures, TokenizerComparison, create_comparison, measure, open_comparison
from handgrad.runs import check_is_free, find_checkpoint, open_run
from handgrad.runs.retention import checkpoints_of, set_pointer
from handgrad.system.errors import InputError

Compared = tuple[TokenizerComparison, dict[str, Measures]]


@pytest.fixture
def copy(compared: Compared, tmp_path: Path) -> TokenizerComparison:
    shutil.copytree(compared[0].path, tmp_path / "copy")
    return open_comparison(tmp_path / "copy")


def test_a_comparison_is_read_back_as_it_was_laid_out(compared: Compared) -> None:
    comparison = compared[0]
    assert open_comparison(comparison.path) == comparison
    assert comparison.corpus() == CORPUS
    assert [entry.name for entry in comparison.entries] == list(BUDGETS)
    for entry in comparison.entries:
        run = open_run(comparison.path / "runs" / entry.name)  # an ordinary run
        same = replace(SMALL, tokenizer=entry.candidate.kind, max_steps=entry.steps)
        assert (run.config, run.corpus_sha256) == (same, CORPUS.sha256)
    assert open_run(comparison.run_path(comparison.entries[2])).tokenizer().encode("Or")[0] != 0


@pytest.mark.parametrize(("name", "size"), [("word", 290), ("char", None), ("bpe", 290), ("word-lowercase", 290)])
def test_the_vocabulary_is_limited_but_for_characters(name: str, size: int | None, tmp_path: Path) -> None:
    config = replace(SMALL, vocab_size=290)
    comparison = create_comparison(tmp_path / "out", CORPUS, config, [name], {name: Budget(3)})
    run = comparison.run(comparison.entries[0])
    assert run.config.vocab_size == size
    assert run.model_config.vocab_size <= 290
    assert comparison.run(comparison.entries[0]) == run  # as it is on disk


@pytest.mark.parametrize("text", ["\ufeff" + CORPUS.text, CORPUS.text.replace("\n", "\r\n"), CORPUS.text + "\ufeff\r"])
def test_the_text_is_kept_as_it_is(text: str, tmp_path: Path) -> None:
    comparison = create_comparison(tmp_path / "out", Corpus(text, "odd"), SMALL, ["char"], {"char": Budget(3)})
    assert comparison.corpus().text == text
    assert load_text(comparison.path / "text.txt").text == text


def test_each_budget_is_told_in_steps_tokens_and_characters(tmp_path: Path) -> None:
    said: list[str] = []
    budgets = {"char": Budget(100, "characters"), "word": Budget(3)}
    create_comparison(tmp_path / "out", CORPUS, SMALL, ["char", "word"], budgets, said.append)
    assert said[0].startswith("char: 100 characters: 3 steps, 120 tokens, 120 characters; ")
    assert said[1].startswith("word: 3 steps, 120 tokens, ")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown tokenizer": ({"names": ["cahr"]}, "unknown tokenizer 'cahr'; choose from char, word, bpe, word-lowercase"),
    "short": ({"corpus": Corpus("so short a text", "short.txt")}, r"the text \(short.txt\) is too short"),
    "memory": ({"config": replace(SMALL, n_embd=1 << 16, n_layer=99)}, "GiB of memory, and this machine has"),
    "a quick estimate": ({"config": replace(SMALL, eval_batches=2)}, "eval_batches must be 0 to compare"),
    "few ids": ({"names": ["bpe"], "config": replace(SMALL, vocab_size=99)}, "the 256 bytes, not 99"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_and_nothing_left(case: str, tmp_path: Path) -> None:
    changes, sentence = REFUSED[case]
    given = {"corpus": CORPUS, "config": SMALL, "names": ["char"]} | changes
    budgets = {name: Budget(3) for name in given["names"]}
    with pytest.raises(InputError, match=sentence):
        create_comparison(tmp_path / "out", budgets=budgets, **given)
    assert list(tmp_path.iterdir()) == []


def test_more_steps_than_can_be_are_refused(tmp_path: Path) -> None:
    """If a token is less than a character, even of more characters than a budget may have."""
    tiny = replace(SMALL, block_size=1, batch_size=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handgrad.experiments.budget.characters_per_token", lambda data: 0.1)
        with pytest.raises(InputError, match=r"9,007,199,254,740,991 at most"):
            create_comparison(tmp_path / "out", CORPUS, tiny, ["char"], {"char": Budget(9.9e14, "characters")})
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_covered(compared: Compared, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an empty directory"):
        create_comparison(tmp_path, CORPUS, SMALL, ["char"], BUDGETS)
    with pytest.raises(InputError, match="already holds a comparison: continue it with compare --resume"):
        create_comparison(compared[0].path, CORPUS, SMALL, ["char"], BUDGETS)
    with pytest.raises(InputError, match="already holds a run: continue it with train --resume"):
        create_comparison(compared[0].path / "runs" / "char", CORPUS, SMALL, ["char"], BUDGETS)
    with pytest.raises(InputError, match="already holds a comparison"):
        check_is_free(compared[0].path)


def test_a_layout_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("handgrad.experiments.comparison.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_comparison(tmp_path / "out", CORPUS, SMALL, ["char"], BUDGETS)
    assert list(tmp_path.iterdir()) == []


def test_a_layout_that_was_cut_off_is_begun_again(compared: Compared, tmp_path: Path) -> None:
    """As a process leaves it that is killed just before it writes comparison.json."""
    (tmp_path / "runs").mkdir()
    for name in (".beginning.tmp", "lock", "text.txt", ".comparison.json.7.tmp"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"no comparison yet: it was cut off at its beginning; begin again with --out"):
        open_comparison(tmp_path)
    create_comparison(tmp_path, CORPUS, SMALL, tuple(BUDGETS), BUDGETS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "lock", "runs", "text.txt"]
    assert open_comparison(tmp_path) == replace(compared[0], path=tmp_path)


def test_another_text_is_refused(copy: TokenizerComparison) -> None:
    (copy.path / "text.txt").write_text(CORPUS.text + " ")
    with pytest.raises(InputError, match=r"text\.txt is not the text that .* began with"):
        copy.corpus()


@pytest.mark.parametrize("what", ["steps", "swapped", "no config", "text"])
def test_another_run_in_the_place_of_one_is_refused(what: str, copy: TokenizerComparison) -> None:
    _, word, lowercase = copy.entries
    path = copy.run_path(word)
    if what == "steps":
        content = json.loads((path / "config.json").read_text())
        content["config"]["max_steps"] = 999
        (path / "config.json").write_text(json.dumps(content))
    elif what == "swapped":  # the same settings except the tokenizer
        copy = replace(copy, entries=(replace(word, steps=lowercase.steps),))
        shutil.rmtree(path)
        copy.run_path(lowercase).rename(path)
    elif what == "no config":
        (path / "config.json").unlink()
    else:
        copy = replace(copy, corpus_sha256="0" * 64)
    with pytest.raises(InputError, match=r"is (no run|a run with other settings).*; move it away to train it again"):
        copy.run(copy.entries[0] if what == "swapped" else word)


def test_a_run_that_was_removed_begins_anew(copy: TokenizerComparison) -> None:
    entry = copy.entries[0]
    assert copy.is_done(entry)
    shutil.rmtree(copy.run_path(entry))
    assert not copy.is_done(entry)
    assert checkpoints_of(copy.run(entry).path) == []
    assert not copy.is_done(entry)


def test_a_run_is_done_when_all_that_is_measured_says_so(copy: TokenizerComparison, compared: Compared) -> None:
    entry = copy.entries[0]
    path = copy.run_path(entry)
    assert not copy.is_done(replace(entry, steps=entry.steps + 1))
    metrics = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(metrics[: metrics.rindex("{")])
    assert not copy.is_done(entry)
    with pytest.raises(InputError, match="does not cover all 24 steps"):
        measure(copy.run(entry), entry)
    (path / "metrics.jsonl").write_text(metrics)
    assert copy.is_done(entry)
    best, earlier = find_checkpoint(path, "best").name, checkpoints_of(path)[-1]
    assert best != earlier
    set_pointer(path, "best", earlier)  # as a process leaves it that was killed before it updated "best"
    assert not copy.is_done(entry)


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no text": lambda content: content.pop("text"),
    "text": lambda content: content.update(text=5),
    "source": lambda content: content["text"].update(source=None),
    "config": lambda content: content.update(config=[1]),
    "field": lambda content: content["config"].update(layers=3),
    "value": lambda content: content["config"].update(n_layer=-1),
    "entries": lambda content: content.update(entries={"char": 1}),
    "no entries": lambda content: content.update(entries=[]),
    "entry": lambda content: content.update(entries=["char"]),
    "twice": lambda content: content["entries"].append(content["entries"][0]),
    "tokenizer": lambda content: content["entries"][0].update(tokenizer=["char"]),
    "unknown": lambda content: content["entries"][0].update(tokenizer="cahr"),
    "steps": lambda content: content["entries"][0].update(steps=True),
    "many": lambda content: content["entries"][0].update(steps=10**40),
    "budget": lambda content: content["entries"][0].update(budget=5),
    "amount": lambda content: content["entries"][0]["budget"].update(amount=10**400),
    "amount in words": lambda content: content["entries"][0]["budget"].update(amount="24"),
    "unit": lambda content: content["entries"][0]["budget"].update(unit=["steps"]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_comparison_is_refused(what: str, compared: Compared, tmp_path: Path) -> None:
    content = json.loads((compared[0].path / "comparison.json").read_text())
    DAMAGE[what](content)
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"comparison\.json( is damaged)?: "):
        open_comparison(tmp_path)


def test_another_version_and_what_is_no_comparison_are_refused(compared: Compared, tmp_path: Path) -> None:
    content = json.loads((compared[0].path / "comparison.json").read_text())
    (tmp_path / "comparison.json").write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(InputError, match="does not describe a handgrad comparison of version 1"):
        open_comparison(tmp_path)
    for path in (tmp_path / "nowhere", compared[0].run_path(compared[0].entries[0])):
        with pytest.raises(InputError, match=r"is no comparison: it has no comparison\.json; give what compare --out"):
            open_comparison(path)


def test_the_format_stays(compared: Compared) -> None:
    """Later versions of the program must continue comparisons that are on disk."""
    content = json.loads((compared[0].path / "comparison.json").read_text())
    assert content == {
        "format": "handgrad-comparison",
        "version": 1,
        "text": {"source": CORPUS.source, "sha256": CORPUS.sha256},
        "config": asdict(SMALL),
        "entries": [
            {"tokenizer": "char", "budget": {"amount": 24, "unit": "steps"}, "steps": 24},
            {
                "tokenizer": "word",
                "budget": {"amount": 900, "unit": "characters"},
                "steps": compared[0].entries[1].steps,
            },
            {"tokenizer": "word-lowercase", "budget": {"amount": 8, "unit": "steps"}, "steps": 8},
        ],
    }
