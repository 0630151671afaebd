"""Searching by name and by content: through the API, and as the handlers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.apiclient import READER, Api
from tests.workspaces.conftest import SECRET
from workspaces.paths import ROOT, parse
from workspaces.search import NamesFound, TextFound, find_names, find_text
from workspaces.tree import Tree
from workspaces.walk import Clock

OVER = Clock(ends_at=0.0)


def names(tree: Tree, query: str, **options: Any) -> NamesFound:
    return find_names(tree, ROOT, query, **{"max_results": 30, "max_scanned": 5000, **options})


def text(tree: Tree, query: str, **options: Any) -> TextFound:
    defaults = {"max_results": 100, "max_scanned": 5000, "max_bytes_per_file": 262_144}
    return find_text(tree, ROOT, query, **{**defaults, **options})


def paths(found: NamesFound | TextFound) -> list[str]:
    return [match["path"] for match in found.matches]


class TestNames:
    def test_names_and_paths_match_in_any_case(self, tree: Tree) -> None:
        assert paths(names(tree, "README")) == ["readme.txt"]
        assert paths(names(tree, "notes/DEEP")) == ["notes/deep", "notes/deep/er.txt"]
        assert names(tree, "deep").matches[0] == {"path": "notes/deep", "is_dir": True, "size": None}

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("monthlyReport", "monthly_report.md"),
            ("monthly report", "monthly-report.md"),
            ("monthly_report", "MonthlyReport.md"),
            ("raportti.pdf", "raportti.md"),
            ("naive", "naïve.txt"),
            ("Übersicht", "ubersicht.txt"),
            ("m.o.n.t.h", "month.txt"),
        ],
    )
    def test_another_spelling_is_found_where_nothing_has_the_query_itself(
        self, tree: Tree, root: Path, query: str, name: str
    ) -> None:
        (root / name).write_text("x")

        found = names(tree, query)

        assert (paths(found), found.used_variant_fallback) == ([name], True)

    def test_other_spellings_do_not_matter_where_the_query_itself_is_found(self, tree: Tree, root: Path) -> None:
        (root / "to_day.md").write_text("x")

        found = names(tree, "to_day")

        assert (paths(found), found.used_variant_fallback) == (["to_day.md"], False)
        assert "to-day" in found.query_variants

    def test_hidden_names_count_when_asked(self, tree: Tree, root: Path) -> None:
        (root / ".git").mkdir()
        (root / ".git" / "config.txt").write_text("x")
        (root / ".gitkeep").write_text("")

        assert paths(names(tree, "config")) == []
        assert paths(names(tree, "git", include_hidden=True)) == [".git", ".git/config.txt"]

    def test_a_search_goes_on_where_it_stopped(self, tree: Tree, root: Path) -> None:
        for number in range(10):
            (root / "notes" / f"page-{number}.txt").write_text("x")
        found: list[str] = []
        offset: int | None = 0

        while offset is not None:
            page = names(tree, "page", max_results=3, cursor_offset=offset)
            found += paths(page)
            offset = page.next_cursor_offset

        assert found == [f"notes/page-{number}.txt" for number in range(10)]
        assert not page.has_more

    def test_a_limit_of_entries_ends_it_and_says_so(self, tree: Tree, root: Path) -> None:
        (root / "many").mkdir()
        for number in range(300):
            (root / "many" / f"{number:03}.txt").write_text("x")

        first = names(tree, "readme", max_scanned=100)
        rest = names(tree, "readme", max_scanned=5000, cursor_offset=100)

        assert (first.truncated, first.has_more, first.scanned, first.next_cursor_offset) == (True, True, 100, 100)
        assert (paths(rest), rest.truncated, rest.visited_total) == (["readme.txt"], False, 306)

    def test_links_are_named_and_not_followed(self, tree: Tree, root: Path, outside: Path) -> None:
        (root / "door").symlink_to(outside)
        (root / "notes" / "up").symlink_to("..")

        assert paths(names(tree, "door")) == ["door"]
        assert paths(names(tree, "secret")) == []
        assert paths(names(tree, "up")) == ["notes/up"]

    def test_time_ends_it_and_says_so(self, tree: Tree) -> None:
        found = names(tree, "readme", clock=OVER)

        assert (found.truncated, found.has_more, found.matches) == (True, True, [])


class TestText:
    def test_the_first_match_of_each_line(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_bytes("eins\r\nzwei ÄPFEL äpfel\nÄpfel".encode())

        found = text(tree, "äpfel")

        assert found.matches == [
            {"path": "a.txt", "line": 2, "column": 6, "text": "zwei ÄPFEL äpfel"},
            {"path": "a.txt", "line": 3, "column": 1, "text": "Äpfel"},
        ]
        assert (found.base_path, found.requested_files_count, found.has_more) == (".", None, False)

    def test_case_matters_when_asked(self, tree: Tree) -> None:
        assert paths(text(tree, "read", case_sensitive=True)) == []
        assert paths(text(tree, "Read", case_sensitive=True)) == ["readme.txt"]

    def test_a_text_is_no_regular_expression(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_text("f(x)[0].*\n")

        assert paths(text(tree, "(x)[0].*")) == ["a.txt"]
        assert paths(text(tree, "R..d")) == []

    def test_a_regular_expression_sees_one_line_at_a_time(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_text("one\ntwo\n")

        assert [match["line"] for match in text(tree, r"^\w+$", regex=True).matches if match["path"] == "a.txt"] == [
            1,
            2,
        ]
        assert paths(text(tree, r"one\s+two", regex=True)) == []

    @pytest.mark.parametrize(
        "query",
        [
            r"^two$",
            r"\Atwo\z",
            r"(?-m)^two$",
            r"(?i)^TWO$",
            r"^(?:two|2)$",
            r"two$|^nothing",
            r"^\Qtwo\E$",
            r"^\S+o$",
            r"\btwo\b",
        ],
    )
    def test_lines_are_found_whatever_a_pattern_says_of_their_ends(self, tree: Tree, root: Path, query: str) -> None:
        (root / "a.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")

        assert [(match["path"], match["line"]) for match in text(tree, query, regex=True).matches] == [("a.txt", 2)]

    def test_no_regular_expression_is_slow(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_text("a" * 200_000 + "!")

        found = text(tree, "(a+)+(a|aa)+$", regex=True)

        assert paths(found) == []

    @pytest.mark.parametrize("query", ["(", "(?=x)", r"(a)\1", "x{9999}", "[[:alpha:"])
    def test_what_re2_does_not_understand_is_refused(self, web: Api, query: str) -> None:
        answer = web.get("/v1/workspace/search?" + urlencode({"query": query, "in": "text", "regex": "1"}))

        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert "RE2" in answer.json["error"]["message"]

    def test_binary_and_large_files_are_counted_and_skipped(self, tree: Tree, root: Path) -> None:
        (root / "binary").write_bytes(b"Read\0")
        (root / "large.txt").write_text("Read" * 1000)

        found = text(tree, "Read", max_bytes_per_file=512)

        assert (paths(found), found.skipped_binary_files, found.skipped_too_large_files) == (["readme.txt"], 1, 1)
        assert found.scanned_files == 5

    def test_files_can_be_named(self, tree: Tree, root: Path, outside: Path) -> None:
        (root / "door").symlink_to(outside / "secret.txt")
        named = [parse(path, root=root) for path in ("notes/today.md", "absent", "door", "notes")]

        found = text(tree, "t", files=named)

        assert (paths(found), found.skipped_missing_files, found.requested_files_count) == (["notes/today.md"], 3, 4)
        assert found.base_path is None

    def test_a_single_file_can_be_the_place_to_look(self, tree: Tree, root: Path) -> None:
        assert paths(find_text(
            tree, parse("readme.txt", root=root), "e", max_results=9, max_scanned=100, max_bytes_per_file=512
        )) == ["readme.txt"]  # fmt: skip

    def test_matches_files_and_time_are_limited(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_text("x\n" * 50)

        few = text(tree, "x", max_results=50)
        less = text(tree, "x", max_results=49)
        short = text(tree, "Read", max_scanned=1)
        late = text(tree, "x", clock=OVER)

        assert (few.result_count, few.has_more) == (50, False)
        assert (less.result_count, less.has_more, less.truncated) == (49, True, False)
        assert (short.scanned_files, short.has_more, short.truncated) == (1, True, True)
        assert (late.has_more, late.truncated) == (True, True)

    def test_a_tree_of_directories_has_an_end_and_says_so(self, tree: Tree, root: Path) -> None:
        for number in range(9):
            (root / f"a{number}").mkdir()
        (root / "a0" / "far.txt").write_text("Read")

        cut = text(tree, "Read", max_scanned=2)

        assert (cut.scanned_files, cut.has_more, cut.truncated) == (1, True, True)

    def test_long_lines_are_cut(self, tree: Tree, root: Path) -> None:
        (root / "a.txt").write_text("x" * 2000 + "needle")

        (match,) = text(tree, "needle").matches

        assert (len(match["text"]), match["column"]) == (500, 2001)

    def test_links_lead_to_no_text(self, tree: Tree, root: Path, outside: Path) -> None:
        (root / "door").symlink_to(outside)
        (root / "second").hardlink_to(outside / "secret.txt")

        assert paths(text(tree, SECRET)) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("query=today", 200),
        ("query=today&in=text&limit=5", 200),
        ("", 400),
        ("query=%20", 400),
        ("query=" + "x" * 501, 400),
        ("query=x&in=elsewhere", 400),
        ("query=x&path=..", 400),
        ("query=x&path=absent", 404),
        ("query=x&path=absent&in=text", 404),
    ],
)
def test_the_api_of_searching(web: Api, query: str, status: int) -> None:
    answer = web.get(f"/v1/workspace/search?{query}", key=READER)

    assert answer.status == status
    assert status != 200 or paths(NamesFound.model_construct(**answer.json)) == ["notes/today.md"]
