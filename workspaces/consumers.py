"""The workspace live on WebSocket."""

from __future__ import annotations

from access.principals import Principal
from access.websocket import authenticate_scope
from jobs.consumers import LiveConsumer, Subscription
from jobs.live.gate import in_thread
from workspaces.faults import WrongKind
from workspaces.paths import parse
from workspaces.tree import workspace
from workspaces.watching import watches


class DirectoryConsumer(LiveConsumer):
    """`/ws/workspace?path=`: `resync` (load the listing now), then `changes` of what the directory holds.

    Frames and refusals are as on `/ws/jobs`. `changes`: `{"changes": [{"name", "path", "entry"}]}`, with entries as in
    listings; null: it is gone. `end`: the directory itself was deleted or moved.
    """

    async def subscribe(self) -> tuple[Principal, Subscription]:
        """The directory of the query. Raises as the listing does, and WORKSPACE_WATCH_LIMIT when one connects."""
        principal = await in_thread(authenticate_scope, self.scope, None)
        tree = await in_thread(workspace)
        path = parse(self._query("path") or "", root=tree.root)
        found = await in_thread(tree.look, path)
        if found.kind != "dir":
            raise WrongKind("path", f"is not a directory: {path}")
        return principal, watches().watching(tree, path)
