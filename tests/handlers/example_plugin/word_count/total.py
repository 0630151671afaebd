"""Counts the words of many texts: a job for each, all at once, then the sum."""

from pydantic import BaseModel, Field

from jobs.handlers.base import Child, Handler, JobContext

from . import Count


class Texts(BaseModel):
    texts: list[str] = Field(min_length=1, max_length=1000)


class WordTotal(Handler[Texts, Count]):
    id = "word-count:total"
    Input = Texts
    Output = Count

    def run(self, ctx: JobContext[Texts]) -> Count:
        if not ctx.children:
            ctx.spawn(
                [
                    Child(type="text.count", name=f"text {n}", input={"text": text})
                    for n, text in enumerate(ctx.input.texts)
                ]
            )
        counts = [Count.model_validate(child.result) for child in ctx.children]
        return Count(words=sum(count.words for count in counts), longest=max((it.longest for it in counts), key=len))
