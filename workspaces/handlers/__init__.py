"""The handlers of the workspace. Reading, searching and writing are each off until an operator switches them on."""

from workspaces.handlers.reading import FileRead
from workspaces.handlers.searching import FileSearch, FindInFiles
from workspaces.handlers.workflow import WorkflowRun
from workspaces.handlers.writing import WriteFile

HANDLERS = (FileRead, WriteFile, FileSearch, FindInFiles, WorkflowRun)
