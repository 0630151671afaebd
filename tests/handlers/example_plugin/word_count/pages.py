"""A RauskuClaw handler that counts the words of a web page."""

from pydantic import BaseModel, Field

from jobs.handlers.base import AsyncHandler, AsyncJobContext, Needs
from rauskuclaw.netguard_async import guarded_client, open_url, read_capped


class Page(BaseModel):
    url: str = Field(max_length=2000, description="Whose words to count.")


class Words(BaseModel):
    words: int


class PageWords(AsyncHandler[Page, Words]):
    id = "word-count:page"
    Input = Page
    Output = Words
    needs = Needs(network=True)

    async def arun(self, ctx: AsyncJobContext[Page]) -> Words:
        async with (
            guarded_client(timeout_sec=30) as client,
            open_url(client, ctx.input.url, permit=lambda target: None) as response,
        ):
            body, _ = await read_capped(response, max_bytes=1_000_000)
        return Words(words=len(body.decode(errors="replace").split()))
