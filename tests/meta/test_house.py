"""The rules of the house that no linter knows: sizes, names, and documents that tell the truth.

CONTRIBUTING.md states the rules; this module is how they are kept. Everything is read from the
source as text or as a syntax tree, nothing of korat runs but its command-line parser.
"""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from korat import ports
from korat.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "korat"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PORT_METHODS_MAX = 5

#: Names that say nothing about what is inside.
BANNED_WORDS = {"util", "utils", "helper", "helpers", "manager", "common", "misc", "base"}

MODULES = sorted(SOURCE.rglob("*.py"))
#: Held to the same sizes; what else the rules say of names and folders is about the package.
BENCH = sorted((ROOT / "bench").glob("*.py"))
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def relative(path):
    return str(path.relative_to(ROOT))


def tree_of(module):
    return ast.parse(module.read_text("utf-8"))


documents = pytest.mark.parametrize("document", DOCUMENTS, ids=relative)


# The source.


def test_modules_are_short_and_say_what_they_are_for():
    every = (*MODULES, *BENCH)
    lines = {module: len(module.read_text("utf-8").splitlines()) for module in every}
    assert not {relative(m): n for m, n in lines.items() if n > MODULE_LINES_MAX}
    assert not [relative(m) for m in every if not ast.get_docstring(tree_of(m))]


def test_functions_are_short():
    long = {
        f"{relative(module)}: {node.name}": lines
        for module in (*MODULES, *BENCH)
        for node in ast.walk(tree_of(module))
        if isinstance(node, FUNCTION) and (lines := lines_of(node)) > FUNCTION_LINES_MAX
    }
    assert not long


def lines_of(function):
    """The lines of a function without its docstring and decorators."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    text = function.body[0]
    return lines - (text.end_lineno - text.lineno + 1)


def test_names_say_what_is_inside():
    assert not [relative(m) for m in MODULES if words_of(m) & BANNED_WORDS]


def words_of(module):
    parts = module.relative_to(SOURCE).with_suffix("").parts
    return {word for part in parts for word in part.split("_")}


def test_nobody_imports_the_package_root():
    """Whoever did would import whatever the root comes to hold. The version is all there is."""
    rooms = {folder.name for folder in SOURCE.iterdir() if folder.is_dir()}
    allowed = {"__version__", "ports", *rooms}
    taken = {
        f"{relative(module)}: {name}"
        for module in MODULES
        for name in names_from_root(tree_of(module))
        if name not in allowed
    }
    assert not taken


def names_from_root(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name == "korat")
        elif isinstance(node, ast.ImportFrom) and node.module == "korat":
            yield from (alias.name for alias in node.names)


def test_package_files_hold_a_docstring_and_exports_only():
    assert not [
        f"{relative(module)}: {ast.unparse(node)}"
        for module in MODULES
        if module.name == "__init__.py"
        for node in tree_of(module).body[1:]
        if not is_export(node)
    ]


def is_export(node):
    if isinstance(node, ast.Assign):
        return {ast.unparse(target) for target in node.targets} <= {"__all__", "__version__"}
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_a_port_has_few_methods():
    tree = ast.parse(Path(ports.__file__).read_text("utf-8"))
    protocols = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    ]
    assert protocols
    for protocol in protocols:
        methods = [n.name for n in protocol.body if isinstance(n, FUNCTION)]
        own = [name for name in methods if not name.startswith("__")]
        assert len(own) <= PORT_METHODS_MAX, protocol.name


def test_no_file_names_a_developers_machine():
    """A path or host of the machine where korat is built means nothing to anyone else."""
    traces = re.compile(
        r"(?<![\w.])/(?:work|farm)/\w|/(?:home|Users)/[a-z]\w*/|^--(?:extra-)?index-url",
        re.MULTILINE,
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_files()
        if (match := traces.search(path.read_text("utf-8", errors="ignore")))
    ]
    assert not found


def tracked_files():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nobody knows which files are ours")
    listed = subprocess.run(
        [git, "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and path != Path(__file__).resolve()]


# The documents.

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|<img[^>]*\ssrc=\"([^\"]+)\"|srcset=\"([^\"]+)\"")
CODE = re.compile(r"`([^`\n]+)`")
#: What is taken for a path in code: it begins in one of the house's folders.
PATH = re.compile(r"(?:src|tests|docs|examples|tools|\.ci)/[\w./*-]*")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:\[[^`]*\])?`")
#: Rows of a table, without its head and the line below that.
ROW = re.compile(r"^\|(?!\s*(?:-{3}|Calico\b))(.+)\|$", re.MULTILINE)


def without_fences(text):
    return FENCE.sub("", text)


@documents
def test_links_and_paths_lead_somewhere(document):
    text = document.read_text("utf-8")
    links = ["".join(found) for found in LINK.findall(text)]
    broken = [
        link
        for link in links
        if "://" not in link and not link.startswith("#") and not (document.parent / link).exists()
    ]
    named = [path for code in CODE.findall(without_fences(text)) for path in PATH.findall(code)]
    broken += [path for path in named if not any(ROOT.glob(path.rstrip("./")))]
    assert not broken


def test_every_folder_has_a_sentence_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    folders = {module.parent.relative_to(SOURCE) for module in MODULES} - {Path()}
    assert not [str(folder) for folder in sorted(folders) if f"`{folder}/`" not in text]


def test_every_decision_record_is_linked():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert records
    assert not [path.name for path in records if f"(docs/adr/{path.name})" not in text]


COMPAT = (ROOT / "docs" / "compat.md").read_text("utf-8")


@pytest.mark.parametrize("row", ROW.findall(COMPAT), ids=lambda row: row.split("|")[0].strip()[:60])
def test_every_row_of_compat_names_a_test(row):
    assert TEST.search(row)


@documents
def test_tests_that_are_named_exist(document):
    missing = []
    for path, name in TEST.findall(document.read_text("utf-8")):
        source = (ROOT / path).read_text("utf-8")
        if name and not re.search(
            rf"^(?:def {name}\(|class {name}\b|{name} = )", source, re.MULTILINE
        ):
            missing.append(f"{path}::{name}")
    assert not missing


def test_compat_has_rows():
    assert len(ROW.findall(COMPAT)) > 20


@documents
def test_commands_are_korats(document):
    """Commands in blocks for the shell are parsed whole; in running text, their verb is known."""
    text = document.read_text("utf-8")
    for kind, block in FENCE.findall(text):
        if kind in {"sh", "bash", "console"}:
            for words in commands_in(block):
                parse(words)
    for code in CODE.findall(without_fences(text)):
        if code.startswith(("korat ", ".venv/bin/korat ")):
            parse_verb(code.split()[1:])


def commands_in(block):
    """The argument lists of all calls of korat in a block of shell."""
    block = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|[\s/(])korat\s+([^|&;<>()#]*)", line.removeprefix("$ ")):
            yield shlex.split(call)


def parse(words):
    """Parse a whole command line as korat would; wrong usage is an exception."""
    command, rest, path = get_command(app), list(words), "korat"
    while True:
        context = command.make_context(path, rest)
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        path = f"{path} {name}"


def parse_verb(words):
    """Find the command that the first words name."""
    command, rest = get_command(app), list(words)
    while hasattr(command, "resolve_command") and rest and re.fullmatch("[a-z]+", rest[0]):
        context = command.make_context("korat", [rest[0]])
        _, command, _ = command.resolve_command(context, [rest[0]])
        rest = rest[1:]


@pytest.mark.parametrize("line", ["get np --nope", "nope", "lab probe extra"])
def test_the_parser_refuses_what_is_no_command(line):
    with pytest.raises(Exception, match=r"No such|unexpected"):
        parse(line.split())
