"""A RauskuClaw handler that counts the words of a text."""

from pydantic import BaseModel, Field

from jobs.handlers.base import Handler, JobContext


class Text(BaseModel):
    text: str = Field(min_length=1, max_length=100_000, description="What to count.")


class Count(BaseModel):
    words: int
    longest: str


class WordCount(Handler[Text, Count]):
    id = "word-count:count"
    Input = Text
    Output = Count
    short = True

    def run(self, ctx: JobContext[Text]) -> Count:
        words = ctx.input.text.split()
        ctx.log("Counting words", characters=len(ctx.input.text))
        return Count(words=len(words), longest=max(words, key=len, default=""))
