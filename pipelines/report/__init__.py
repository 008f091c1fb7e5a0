"""Report: what a person looks at after a run."""

from pipelines.report.page import write_report

__all__ = ["write_report"]
