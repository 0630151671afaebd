"""`design.frontpage.layout`: the plan of a front page (contract 6.10)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs.handlers.base import Handler, JobContext
from jobs.handlers.fields import ObjectInput, WholeNumber, cut_text

Tone = Literal["professional", "bold", "minimal", "playful"]
Direction = Literal["high-contrast", "clean-grid", "balanced-modern"]
SectionId = Literal["hero", "features", "social-proof", "cta", "footer"]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=120)]

_DIRECTIONS: dict[Tone, Direction] = {"bold": "high-contrast", "minimal": "clean-grid"}


class LayoutInput(ObjectInput):
    """What the page is for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"title": "RauskuClaw", "tone": "bold", "audience": "operators", "primary_action": "Run a job"}
            ]
        }
    )

    title: Annotated[str, cut_text(120, default="Landing Page")] = Field(
        "Landing Page", description="Heading of the page; cut at 120 characters."
    )
    tone: Tone = Field("professional", description="How the page speaks.")
    audience: Phrase = Field("general", description="Who reads it.")
    primary_action: Phrase = Field("Get Started", description="What the reader shall do.")
    feature_count: WholeNumber = Field(3, ge=1, le=8, description="Cards in the features section.")


class Style(BaseModel):
    """How the page looks."""

    tone: Tone
    audience: str
    visual_direction: Direction


class Section(BaseModel):
    """One part of the page, from top to bottom."""

    id: SectionId
    title: str
    content: list[str] = Field(description="What stands in it, in order.")


class FrontpageLayout(BaseModel):
    """The plan."""

    title: str
    summary: str
    style: Style
    sections: list[Section]
    notes: list[str]


class FrontpageLayoutPlan(Handler[LayoutInput, FrontpageLayout]):
    """Plans the sections of a front page."""

    id = "builtin:design.frontpage.layout"
    short = True
    Input = LayoutInput
    Output = FrontpageLayout
    checks_input_at_creation = False

    def run(self, ctx: JobContext[LayoutInput]) -> FrontpageLayout:
        """The plan for `ctx.input`."""
        given = ctx.input
        ctx.log("Generating frontpage layout plan", title=given.title, tone=given.tone, features=given.feature_count)
        return FrontpageLayout(
            title=given.title,
            summary=f"A {given.tone} front page for {given.audience} readers with {given.feature_count} feature(s),"
            f" leading to “{given.primary_action}”.",
            style=Style(
                tone=given.tone,
                audience=given.audience,
                visual_direction=_DIRECTIONS.get(given.tone, "balanced-modern"),
            ),
            sections=_sections(given),
            notes=[
                "Keep one primary action visible on every screen size.",
                "Give text a contrast ratio of at least 4.5:1.",
                f"Write every sentence for {given.audience} readers.",
            ],
        )


def _sections(given: LayoutInput) -> list[Section]:
    features = [f"Feature {number}: icon, heading, one sentence" for number in range(1, given.feature_count + 1)]
    action = f"Button: {given.primary_action}"
    return [
        Section(
            id="hero", title=given.title, content=["Heading", f"One sentence for {given.audience} readers", action]
        ),
        Section(id="features", title="What you get", content=features),
        Section(id="social-proof", title="Who relies on it", content=["Three short quotes", "A row of logos"]),
        Section(id="cta", title=given.primary_action, content=["One sentence that repeats the promise", action]),
        Section(id="footer", title="Footer", content=["Links", "Contact", "Legal notice"]),
    ]
