"""The pages for people that are neither the admin nor the browsable API."""

from __future__ import annotations

from typing import Any

from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from rauskuclaw.config import load


class Home(TemplateView):
    """`/`: what runs here, whether it is well, and where to go. Asks the database nothing; a script asks `/ready`."""

    template_name = "rauskuclaw/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The address the reader came by, for a curl that works when pasted."""
        return {"origin": f"{self.request.scheme}://{self.request.get_host()}", "key_header": load().api_key_header}


class Schema(SpectacularAPIView):
    """`/v1/schema`: the OpenAPI description, for anybody."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class Docs(SpectacularSwaggerSplitView):
    """`/docs`: Swagger UI from local files, its start-up script apart so that no inline script need be allowed."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    title = "RauskuClaw API"
