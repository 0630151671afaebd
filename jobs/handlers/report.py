"""`report.generate`: a short report from numbers and highlights (contract 6.2)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobs.handlers.base import Handler, JobContext
from jobs.handlers.fields import ObjectInput, cut_text, finite_number
from rauskuclaw.api.fields import iso_ms

Number = int | float
MAX_METRICS, MAX_HIGHLIGHTS = 100, 20


def _highlights(value: object) -> list[str]:
    items = value if isinstance(value, list) else []
    texts = (str(item).strip()[:200] for item in items if isinstance(item, str | int | float))
    return [text for text in texts if text][:MAX_HIGHLIGHTS]


def _metrics(value: object) -> dict[str, Number]:
    given: dict[str, Any] = value if isinstance(value, dict) else {}
    read = {name[:80]: number for name, content in given.items() if (number := finite_number(content)) is not None}
    return dict(sorted(read.items())[:MAX_METRICS])


def _values(value: object) -> list[Number]:
    items = value if isinstance(value, list) else []
    return [number for item in items if (number := finite_number(item)) is not None]


class ReportInput(ObjectInput):
    """What to report. Everything has a default; what cannot be read as a number is skipped."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Nightly build",
                    "source": "ci",
                    "metrics": {"tests": 412, "failures": 0},
                    "highlights": ["green"],
                },
                {"title": "Latencies", "values": [12.5, 9, 31.25]},
            ]
        }
    )

    title: Annotated[str, cut_text(120, default="Runtime Report")] = Field(
        "Runtime Report", description="Heading; cut at 120 characters."
    )
    source: Annotated[str, cut_text(120, default="unknown")] = Field(
        "unknown", description="Where the numbers come from; cut at 120 characters."
    )
    highlights: Annotated[list[str], BeforeValidator(_highlights)] = Field(
        [], description="Notable points: the first 20 that are not blank, each cut at 200 characters."
    )
    metrics: Annotated[dict[str, Number], BeforeValidator(_metrics)] = Field(
        {}, description="Name → number; the first 100 by name, names cut at 80 characters."
    )
    values: Annotated[list[Number], BeforeValidator(_values)] = Field(
        [], description="Numbers to summarise as count, sum, min, max and avg, where there are no metrics."
    )
    notes: Annotated[str, cut_text(1000)] = Field("", description="Free text; cut at 1,000 characters.")


class Metric(BaseModel):
    """One number of a report."""

    name: str
    value: Number


class Report(BaseModel):
    """The report."""

    report_id: uuid.UUID
    generated_at: str = Field(description="UTC, ISO 8601 with milliseconds.")
    title: str
    source: str
    summary: str = Field(description="One or two sentences for people.")
    metrics: list[Metric]
    highlights: list[str]
    notes: str | None = None


class ReportGenerate(Handler[ReportInput, Report]):
    """Puts numbers and highlights into one report.

    The first server waited 200 ms here, an accident that nobody relies on; this one does not.
    """

    id = "builtin:report.generate"
    short = True
    Input = ReportInput
    Output = Report
    checks_input_at_creation = False

    def run(self, ctx: JobContext[ReportInput]) -> Report:
        """The report of `ctx.input`."""
        given = ctx.input
        numbers = given.metrics or _statistics(given.values)
        ctx.log("Generating report", title=given.title, metrics=len(numbers), highlights=len(given.highlights))
        summary = f"{given.title}: {len(numbers)} metric(s), {len(given.highlights)} highlight(s)."
        if numbers:
            top = max(numbers, key=lambda name: numbers[name])
            summary += f" Top metric {top}={numbers[top]}."
        return Report(
            report_id=uuid.uuid4(),
            generated_at=iso_ms(datetime.now(UTC)),
            title=given.title,
            source=given.source,
            summary=summary,
            metrics=[Metric(name=name, value=value) for name, value in numbers.items()],
            highlights=given.highlights,
            notes=given.notes or None,
        )


def _statistics(values: list[Number]) -> dict[str, Number]:
    """count, sum, min, max and avg, to 6 decimals; empty for no values."""
    if not values:
        return {}
    total = sum(values)
    raw = {"count": len(values), "sum": total, "min": min(values), "max": max(values), "avg": total / len(values)}
    rounded = {name: finite_number(round(value, 6)) for name, value in raw.items()}
    return {name: value for name, value in rounded.items() if value is not None}
