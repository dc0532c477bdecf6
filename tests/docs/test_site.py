"""The site is whole, asks no other host for anything, and shows what the code says."""

import base64
import html
import inspect
import json
import posixpath
import re
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest
from site_build import build

import handgrad
from handgrad import ops
from handgrad.autograd import functions
from handgrad.cli.main import COMMANDS
from handgrad.runs import PRESETS

pytestmark = pytest.mark.slow  # the site is built first

if any(find_spec(name) is None for name in ("latex2mathml", "material", "mkdocs", "mkdocstrings")):
    pytest.skip("the site is built with what `make docs` installs", allow_module_level=True)

ROOT = Path(__file__).parents[2]
FORMULAS = r"""# Formulas

A fraction $\frac{\partial L}{\partial x}$, $p \log q$, and one over
two lines: $a +
b_1 * c_2 * d$. Prices: $5 and $6, \$7; code: `$HOME/$x$`.

$$
\begin{aligned}
y &= x^\top W \\
z &= \operatorname{softmax}(y)
\end{aligned}
$$

$$\overline{d\hat{x}} = 1 \qquad\Rightarrow\qquad f\left(a \qquad b\right) \qquad \underline{c}$$

[a file](../src/handgrad/ops/softmax.py), [several](../src/handgrad/ops/elementwise.py),
[a room](../src/handgrad/models), [an example](../examples/gpt2.py).
"""
SMALL = """
INHERIT: mkdocs.yml
nav: [index.md]
hooks: [scripts/site/formulas.py, scripts/site/links.py, scripts/site/commands.py]
plugins: [search]
validation: {nav: {omitted_files: ignore}}
"""


def operations() -> list[str]:
    return [name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is built from, to be changed."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copy(ROOT / "mkdocs.yml", source)
    for path in ROOT.iterdir():
        if path.name not in ("docs", "mkdocs.yml", "site"):
            (source / path.name).symlink_to(path)
    return source


@pytest.fixture(scope="module")
def site(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, with a page of formulas in the place of the first."""
    home = source / "docs" / "index.md"
    home.write_text(FORMULAS + home.read_text(encoding="utf-8"), encoding="utf-8")
    out = tmp_path_factory.mktemp("site")
    done = build(source, "mkdocs.yml", out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_link_and_anchor_leads_somewhere(whole_site: Path) -> None:
    pages = {page.relative_to(whole_site).as_posix(): page.read_text("utf-8") for page in whole_site.rglob("*.html")}
    anchors = {place: set(re.findall(r'\b(?:id|name)="([^"]+)"', written)) for place, written in pages.items()}
    assert len(pages) > 100
    checked = 0
    for place, written in pages.items():
        for link in re.findall(r'<(?:a|img|link|script|source)\b[^>]*?\b(?:href|src|srcset)="([^"]*)"', written):
            target, _, anchor = html.unescape(link).partition("#")
            if re.match(r"[a-z]+:", target) or (place == "404.html" and not target.startswith("/")):
                continue
            whole = posixpath.normpath(posixpath.join("/", posixpath.dirname(place), unquote(target) or place))
            if not target:
                whole = f"/{place}"
            assert (whole_site / whole.lstrip("/")).is_file(), (place, link)
            if anchor and not anchor.startswith("__"):  # those of the theme's own controls
                assert unquote(anchor) in anchors[whole.lstrip("/")], (place, link)
            checked += 1
    assert checked > 5000


def test_the_notebook_is_a_page_with_its_outputs(whole_site: Path) -> None:
    page = whole_site / "first-gpt.html"
    shown = " ".join(text_of(page).split())
    notebook = json.loads((ROOT / "examples" / "first_gpt.ipynb").read_text(encoding="utf-8"))
    pictures = 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert " ".join(source.split()) in shown
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                assert " ".join("".join(output["text"]).split()) in shown
            else:
                kept = whole_site / "first-gpt" / f"{cell['id']}.png"
                assert kept.read_bytes() == base64.b64decode(output["data"]["image/png"])
                assert f'src="first-gpt/{cell["id"]}.png"' in page.read_text(encoding="utf-8")
                pictures += 1
    assert pictures == 2
    assert json.loads((whole_site / "first_gpt.ipynb").read_text(encoding="utf-8")) == notebook


def test_the_home_page_shows_three_commands_and_their_outputs(whole_site: Path) -> None:
    page = (whole_site / "index.html").read_text(encoding="utf-8")
    pattern = r'<div class="language-sh highlight">(.*?)</div>\s*<div class="language-text highlight">(.*?)</div>'
    pairs = [[plain(part).strip() for part in pair] for pair in re.findall(pattern, page, flags=re.DOTALL)]
    (train, trained), (sample, written), (check, checked) = pairs
    assert train == "make train"
    assert sample.startswith("handgrad sample ")
    assert check in ("make check", "handgrad check")
    assert written
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for output in (trained.removesuffix("..."), checked):
        assert len(output) > 100
        assert output.strip() in readme


def test_an_output_is_found_below_its_command(tmp_path: Path) -> None:
    from mkdocs.exceptions import PluginError

    sys.path.append(str(ROOT / "scripts" / "site"))
    home = import_module("home")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        "```sh\nmake a # why\nmake b --now    # why\n```\n\nIt ends:\n\n```text\none\nbest two\nthree\n```\n\n"
        "`make c -v` and `d` print:\n\n```text\nfour\n```\n\n# Other\n\n```text\nfive\n```\n",
        encoding="utf-8",
    )
    (tmp_path / "docs" / "a.md").write_text("```sh\nmake e\n```\n\n```text\nsix\n```\n", encoding="utf-8")
    for command, end, block, output in (
        ("make b", None, "make b --now", "one\nbest two\nthree"),
        ("make b", "best", "make b --now", "one\n..."),
        ("make z or make c", None, "make c -v", "four"),
        ("make e", None, "make e", "six"),
    ):
        assert home.shown(command, end, tmp_path) == f"```sh\n{block}\n```\n\n```text\n{output}\n```"
    with pytest.raises(PluginError, match="shows what make f prints"):
        home.shown("make f", None, tmp_path)


def test_code_in_tables_has_its_pipes_and_flags_stay_whole(whole_site: Path) -> None:
    assert "handgrad train [--text PATH ... | --data DIR" in text_of(whole_site / "running.html")
    assert '<span class="whole">--data</span>' in (whole_site / "running.html").read_text(encoding="utf-8")
    assert "char|word|bpe" in text_of(whole_site / "commands.html")
    for page in whole_site.rglob("*.html"):
        assert "\\|" not in text_of(page), page


def text_of(page: Path) -> str:
    return plain(page.read_text(encoding="utf-8"))


def plain(written: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", written))


def test_nothing_is_asked_of_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        written = page.read_text(encoding="utf-8")
        assert "default-src 'self'" in written  # what scripts ask for, browsers refuse
        for tag, attributes in re.findall(r"<(link|script|img|iframe|source|object|embed)\b([^>]*)>", written):
            for reference in re.findall(r"""(?:href|src|srcset|data)=["']?([^"'\s>]+)""", attributes):
                assert not re.match(r"([a-z]+:)?//", reference), (page, tag, reference)
    for sheet in site.rglob("*.css"):
        written = sheet.read_text(encoding="utf-8")
        assert not re.search(r"""(url\(|@import)\s*["']?\s*([a-z]+:)?//""", written), sheet


def test_formulas_are_drawn_and_dollars_stay(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert page.count("<math ") == 7
    assert page.count('display="block"') == 4
    assert page.count('<span class="formula"') == 2
    assert "<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow>" in page
    assert '<mi>p</mi><mspace width="0.167em" /><mi>log</mi>' in page
    assert page.count("<mtr>") == 2
    assert '<mrow class="line-over"><mrow><mi>d</mi><mover accent="true">' in page
    assert '<mrow class="line-under"><mrow><mi>c</mi></mrow></mrow>' in page
    assert "―" not in page
    assert "Prices: $5 and $6, $7; code: <code>$HOME/$x$</code>." in page


def test_links_to_files_lead_to_the_reference_or_nowhere(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert '<a href="reference/ops/softmax.html">a file</a>' in page
    assert '<a href="reference/ops/index.html#functions-of-one-number">several</a>' in page
    assert '<a href="reference/models.html">a room</a>' in page
    assert "<code>an example</code>" in page


def test_what_is_broken_is_said(source: Path, tmp_path: Path) -> None:
    (source / "small.yml").write_text(SMALL, encoding="utf-8")
    home = source / "docs" / "index.md"
    home.write_text("# Whole\n\n[here](#whole), [there](tensors.md#types), $x$\n", encoding="utf-8")
    done = build(source, "small.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    broken = {
        "[a](gone.md)": "'gone.md'",
        "[a](tensors.md#gone)": "'tensors.md#gone'",
        "[a](../src/gone.py)": "'../src/gone.py'",
        "$\\gone{x}$": "unreadable formula",
        "$\\frac{1}{$": "unreadable formula",
        "$\\begin{gone}x\\end{gone}$": "unknown environment gone",
        "$$x": "a formula does not end",
    }
    home.write_text("# Broken\n\n" + "\n\n".join(broken), encoding="utf-8")
    done = build(source, "small.yml", tmp_path / "site")
    assert done.returncode == 1
    for said in broken.values():
        assert said in done.stderr
    assert f"Aborted with {len(broken)} warnings" in done.stdout + done.stderr, done


def test_derivations_keep_their_lines(site: Path) -> None:
    derivations = 0
    for name in operations():
        shown = text_of(site / "reference" / "ops" / f"{name.removesuffix('_backward')}.html")
        docstring = inspect.getdoc(getattr(ops, name)) or ""
        for formula in re.findall(r"(?:^ {4}.+\n?)+", docstring, flags=re.MULTILINE):
            assert inspect.cleandoc(formula) in shown, name
            derivations += 1
    assert derivations > 10
    shown = text_of(site / "reference" / "ops" / "softmax.html")
    assert "dx_j = Σ_i dy_i y_i (δ_ij - y_j) = y_j (dy_j - Σ_i dy_i y_i).\n" in shown
    assert "along_y = (dy * y).sum(axis=axis, keepdims=True)\n" in shown


def ids_of(page: Path) -> set[str]:
    return set(re.findall(r'id="(handgrad[\w.]+)"', page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("room", [room for room in (*handgrad._ROOMS, "autograd.functions") if room != "ops"])
def test_every_public_name_is_in_the_reference(site: Path, room: str) -> None:
    page = site / "reference" / f"{room.removeprefix('autograd.')}.html"
    shown = {path.rpartition(".")[2] for path in ids_of(page)}
    written = page.read_text(encoding="utf-8")
    other_names = set(re.findall(r"<code>(\w+)</code> is (?:another name|described <a)", written))
    assert set(import_module(f"handgrad.{room}").__all__) <= shown | other_names


def test_nothing_is_described_twice(site: Path) -> None:
    places: dict[str, set[Path]] = {}
    for page in (site / "reference").rglob("*.html"):
        for name in ids_of(page):
            places.setdefault(name.partition("handgrad.")[2].rpartition(".")[2], set()).add(page)
    assert places["TrainConfig"] == {site / "reference" / "runs.html"}
    assert '<a href="runs.html#handgrad.runs.config.TrainConfig">' in (site / "reference" / "training.html").read_text()


@pytest.mark.parametrize("name", [name for name in operations() if not name.endswith("_backward")])
def test_every_operation_has_its_page(site: Path, name: str) -> None:
    page = site / "reference" / "ops" / f"{name}.html"
    pair = {one for one in (name, f"{name}_backward") if one in ops.__all__}
    of_ops = {path for path in ids_of(page) if path.startswith("handgrad.ops.")}
    assert pair <= {path.rpartition(".")[2] for path in of_ops}
    assert not {path.rpartition(".")[2] for path in of_ops} & set(ops.__all__) - pair
    assert f'href="{name}.html"' in (site / "reference" / "ops" / "index.html").read_text(encoding="utf-8")


def test_the_page_of_an_operation_leads_to_its_lesson_and_to_the_tape(site: Path) -> None:
    page = (site / "reference" / "ops" / "layer_norm.html").read_text(encoding="utf-8")
    assert '<a href="../../backprop.html#layer-norm">Backpropagation: Layer norm</a>' in page
    assert re.search(r'<a href="../functions.html#handgrad.autograd.functions.\w+.layer_norm">', page)
    assert "kernels/layer_norm.py" in page
    assert 'id="handgrad.ops.layer_norm.LayerNormSaved"' in page


def test_methods_that_are_functions_have_their_docstrings(site: Path) -> None:
    shown = text_of(site / "reference" / "autograd.html")
    for function in (functions.softmax, functions.masked_fill, functions.cumsum, functions.transpose):
        first = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].replace("`", "").split())
        assert first
        assert first in " ".join(shown.split())
    assert "All axes in reverse order." in shown


def test_the_names_of_handgrad_itself_are_in_the_reference(site: Path) -> None:
    shown = text_of(site / "reference" / "index.html")
    assert set(dir(handgrad)) - {"__version__"} <= set(re.findall(r"\w+", shown))


def test_every_command_is_on_its_page(site: Path) -> None:
    page = re.sub(r"</?span[^>]*>", "", (site / "commands.html").read_text(encoding="utf-8"))
    assert re.findall(r'<h2 id="(\w+)"', page) == list(COMMANDS)
    for flag in ("--max-steps INT", "--resume RUN", "--top-k INT", "--allow-special, --no-allow-special"):
        assert f"<code>{flag}</code>" in page
    assert f"Number of transformer blocks. (default: {PRESETS['quick'].n_layer})" in page
