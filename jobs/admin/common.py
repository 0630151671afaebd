"""What the pages share: read-only lists that stay fast on millions of rows, outcomes as messages, pretty JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin
from unfold.decorators import action as dialog_action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from jobs.queries import estimate
from jobs.text import plain
from rauskuclaw.errors import Problem

Method = Callable[..., HttpResponse]

LISTED_ROWS = 10_000
"""Where counting stops and the pages end: beyond, one narrows the filters."""
ACTION_ROWS = 500
"""How many rows one action takes on at once."""
SHOWN_JSON_CHARS = 100_000

_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null)\b)'
    r"|(?P<number>-?\b\d[\d.eE+-]*)"
)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts to LISTED_ROWS and no further: a COUNT over millions of rows takes seconds, and nobody pages that far."""

    template_name = "jobs/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        """How many rows the pages hold: at most LISTED_ROWS."""
        return self._rows[:LISTED_ROWS].count()

    @property
    def _rows(self) -> QuerySet[Any]:
        return cast("QuerySet[Any]", self.object_list).order_by()

    @cached_property
    def estimate(self) -> int | None:
        """About how many rows there are, by the planner's statistics; None when they were counted."""
        if self.count < LISTED_ROWS:
            return None
        return max(LISTED_ROWS, estimate(self._rows))


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows that only the system writes: who has Django's view (or change) permission may look."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    list_filter_submit = True
    # Other columns have no index to sort by.
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


def each(request: HttpRequest, rows: Iterable[Model], verb: Callable[[Any], object], done: str, refused: str) -> None:
    """Do `verb` to each row and tell the user what came of each; rows that share a reason share a message.

    done, refused: what was (not) done to them: "Cancelled", "Not cancelled".
    """
    outcomes: dict[tuple[int, str], list[str]] = {}
    for number, row in enumerate(rows):
        name = f"{row._meta.verbose_name} {row.pk}"
        if number >= ACTION_ROWS:
            outcome = messages.WARNING, f"Only {ACTION_ROWS} at a time: the others are as they were."
            outcomes.setdefault(outcome, [])
            break
        try:
            verb(row)
            outcome = messages.SUCCESS, f"{done}:"
        except Problem as problem:
            outcome = messages.WARNING, f"{refused}, because {problem.message}:"
        outcomes.setdefault(outcome, []).append(name)
    for (level, told), names in outcomes.items():
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        messages.add_message(request, level, f"{told} {', '.join(names[:10])}{more}".strip())


def dialog(
    verb: str,
    *,
    icon: str,
    variant: ActionVariant,
    title: str,
    text: str,
    submit: str,
    permission: str = "act",
    form: type[BaseDialogForm] | None = None,
) -> Callable[[Method], Method]:
    """An action of a row's page that asks before it acts. form: what else it asks for."""
    decorator: Callable[[Method], Method] = dialog_action(
        description=verb, permissions=[permission], icon=icon, variant=variant, url_path=verb.lower(),
        dialog={"title": title, "description": text, "form_class": form, "form_submit_text": submit},
    )  # fmt: skip
    return decorator


def back_to(request: HttpRequest, page: str, object_id: str) -> HttpResponse:
    """To a row's page. htmx, which sends the dialog, follows a header instead of a redirect."""
    url = reverse(page, args=[object_id])
    return HttpResponse(headers={"HX-Redirect": url}) if "HX-Request" in request.headers else HttpResponseRedirect(url)


def badge(kind: str, text: str) -> SafeString:
    """A coloured label of the theme. kind: success, info, warning, danger or default."""
    return mark_safe(render_to_string("unfold/helpers/label.html", {"type": kind, "text": text}))  # noqa: S308


def fits_block(value: Any) -> bool:
    """Whether `json_block` shows all of it."""
    return len(_pretty(value)) <= SHOWN_JSON_CHARS


def json_block(value: Any) -> SafeString:
    """Indented, coloured JSON; a dash for null."""
    if value is None:
        return mark_safe("–")
    text = _pretty(value)
    shown = text[:SHOWN_JSON_CHARS]
    more = f"\n… {len(text) - len(shown):,} more characters; the API has them" if len(text) > len(shown) else ""
    return format_html('<pre class="rc-json" tabindex="0">{}{}</pre>', mark_safe(_coloured(shown)), more)  # noqa: S308


def _pretty(value: Any) -> str:
    return plain(json.dumps(value, indent=2, ensure_ascii=False))


def _coloured(text: str) -> str:
    """HTML: each token escaped, in a span of its kind."""
    parts, end = [], 0
    for token in _TOKEN.finditer(text):
        parts += [escape(text[end : token.start()]), f'<span class="rc-{token.lastgroup}">{escape(token[0])}</span>']
        end = token.end()
    return "".join([*parts, escape(text[end:])])
