"""Which short jobs share a message, what they take of a window and of limits, and what the reconciler makes of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py
from django.utils import timezone
from kombu import Connection

from jobs import dispatch, lifecycle, reconciler
from jobs.flow import Flow
from jobs.handlers.report import ReportGenerate
from jobs.handlers.site import SiteBuild  # placeholder
from jobs.models import Attempt, Job, JobType, Node, Queue, Status
from jobs.requests import NewJob
from jobs.slots import BUNDLE_MOST
from jobs.submission import Submitted, submit_batch
from jobs.transitions import Claim, Claimable
from rauskuclaw.celery import app
from rauskuclaw.wire import job_queue
from tests.conftest import NODE, WORKER

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire")]
