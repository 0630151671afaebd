"""Routes of the workspace and of projects, below `v1/`."""

from __future__ import annotations

from django.urls import path

from workspaces.api import projects, search, views

urlpatterns = [
    path("workspace/files", views.FilesView.as_view(), name="workspace-files"),
    path("workspace/file", views.FileView.as_view(), name="workspace-file"),
    path("workspace/download", views.DownloadView.as_view(), name="workspace-download"),
    path("workspace/upload", views.UploadView.as_view(), name="workspace-upload"),
    path("workspace/create", views.CreateView.as_view(), name="workspace-create"),
    path("workspace/search", search.SearchView.as_view(), name="workspace-search"),
    path("workspace/move", views.MoveView.as_view(), name="workspace-move"),
    path("projects/meta", projects.ProjectsMetaView.as_view(), name="projects-meta"),
    path("projects/<str:project_id>/meta", projects.ProjectMetaView.as_view(), name="project-meta"),
]
