"""`code.component.generate`: the first file of a user-interface component (contract 6.9)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs.handlers.base import Handler, JobContext
from jobs.handlers.fields import ObjectInput

Framework = Literal["vue", "react"]
Language = Literal["ts", "js"]
ComponentName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,79}$")]

_VUE = """\
<script setup{lang}>
{props}
</script>

<template>
  <section class="{css_class}">
    <h2>{{{{ title }}}}</h2>
    <slot />
  </section>
</template>

<style scoped>
.{css_class} {{
  display: grid;
  gap: 0.5rem;
}}
</style>
"""
_VUE_PROPS: dict[Language, str] = {
    "ts": 'withDefaults(defineProps<{{ title?: string }}>(), {{ title: "{name}" }});',
    "js": 'defineProps({{ title: {{ type: String, default: "{name}" }} }});',
}
_REACT: dict[Language, str] = {
    "ts": """\
import type {{ ReactNode }} from "react";

interface {name}Props {{
  title?: string;
  children?: ReactNode;
}}

export function {name}({{ title = "{name}", children }}: {name}Props) {{
""",
    "js": """\
export function {name}({{ title = "{name}", children }}) {{
""",
}
_REACT_BODY = """\
  return (
    <section className="{css_class}">
      <h2>{{title}}</h2>
      {{children}}
    </section>
  );
}}
"""


class ComponentInput(ObjectInput):
    """Which component."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"component_name": "JobCard", "framework": "react", "language": "ts"}]}
    )

    component_name: ComponentName = Field("Component", description="Name in PascalCase.")
    framework: Framework = Field("vue", description="User-interface library.")
    language: Language = Field("ts", description="TypeScript or JavaScript.")


class GeneratedFile(BaseModel):
    """A file as text. It is not written anywhere."""

    path: str
    content: str


class ComponentFiles(BaseModel):
    """The component."""

    component_name: str
    framework: Framework
    language: Language
    files: list[GeneratedFile]


class ComponentGenerate(Handler[ComponentInput, ComponentFiles]):
    """Generates a small component that compiles as it stands; nothing is written to disk."""

    id = "builtin:code.component.generate"
    short = True
    Input = ComponentInput
    Output = ComponentFiles
    checks_input_at_creation = False

    def run(self, ctx: JobContext[ComponentInput]) -> ComponentFiles:
        """The component that `ctx.input` names."""
        given = ctx.input
        ctx.log(
            "Generating component files",
            component_name=given.component_name,
            framework=given.framework,
            language=given.language,
        )
        return ComponentFiles(
            component_name=given.component_name,
            framework=given.framework,
            language=given.language,
            files=[_vue(given) if given.framework == "vue" else _react(given)],
        )


def _css_class(name: str) -> str:
    """`JobCard` → `job-card`."""
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name).lstrip("-")


def _vue(given: ComponentInput) -> GeneratedFile:
    content = _VUE.format(
        lang=' lang="ts"' if given.language == "ts" else "",
        props=_VUE_PROPS[given.language].format(name=given.component_name),
        css_class=_css_class(given.component_name),
    )
    return GeneratedFile(path=f"{given.component_name}.vue", content=content)


def _react(given: ComponentInput) -> GeneratedFile:
    template = _REACT[given.language] + _REACT_BODY
    content = template.format(name=given.component_name, css_class=_css_class(given.component_name))
    return GeneratedFile(path=f"{given.component_name}.{given.language}x", content=content)
