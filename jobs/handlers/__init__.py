"""The handlers of this app. Those of other apps are in their own `handlers.py`; `registry.py` finds them all."""

from jobs.handlers.bulk import JobsBulk
from jobs.handlers.component import ComponentGenerate
from jobs.handlers.data_fetch import DataFetch
from jobs.handlers.deploy import DeployRun
from jobs.handlers.layout import FrontpageLayoutPlan
from jobs.handlers.report import ReportGenerate
from jobs.handlers.tool_exec import ToolExec
from jobs.handlers.web_search import WebSearch

HANDLERS = (
    ReportGenerate,
    DeployRun,
    DataFetch,
    ComponentGenerate,
    FrontpageLayoutPlan,
    ToolExec,
    WebSearch,
    JobsBulk,
)
