"""Report: what a person opens after a run."""

from pipelines.report.page import write_report

__all__ = ["write_report"]
