"""RauskuClaw: durable, typed AI and automation jobs. This package is the Django project around the apps."""

__version__ = "0.1.0"
