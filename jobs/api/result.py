"""A job's result by itself: with an ETag, and in parts for whoever asks so."""

from __future__ import annotations

import hashlib

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from access.principals import principal_of
from jobs import queries, results
from jobs.api.views import ERRORS
from jobs.models import Status
from rauskuclaw import errors
from rauskuclaw.api.ranges import byte_range
from rauskuclaw.errors import Problem


class JobResultView(APIView):
    """The result of one job."""

    @extend_schema(
        operation_id="jobs_result",
        tags=["jobs"],
        parameters=[
            OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=FIRST-LAST"),
            OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="ETags."),
        ],
        responses={
            200: OpenApiTypes.ANY,
            206: OpenApiResponse(OpenApiTypes.BINARY, description="The bytes asked for."),
            304: OpenApiResponse(description="It is what the ETag says."),
            **ERRORS,
        },
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The JSON that the handler returned, and nothing around it; 404 while there is none."""
        job = queries.visible_job(job_id, principal=principal_of(request))
        if job.status != Status.SUCCEEDED:
            raise Problem(errors.NOT_FOUND, f"The job is {job.status}: there is a result once it has succeeded.")
        content = results.text(job).encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        response = get_conditional_response(request._request, etag=etag) or _part(request, content, etag)
        response.headers["ETag"] = etag
        response.headers["Accept-Ranges"] = "bytes"
        # The key may be revoked, so whoever keeps it asks each time.
        response.headers["Cache-Control"] = "private, no-cache"
        return response


def _part(request: Request, content: bytes, etag: str) -> HttpResponse:
    asked = byte_range(request._request, size_bytes=len(content), etag=etag, what="The result")
    if asked is None:
        return HttpResponse(content, content_type="application/json")
    first, last = asked
    headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return HttpResponse(content[first : last + 1], status=206, content_type="application/json", headers=headers)
