"""Results for people: the HTML report and the tables in the terminal."""

from embcompat.report.html import write_report
from embcompat.report.samples import count_scores, project
from embcompat.results import parse_result, read_result

__all__ = ["count_scores", "parse_result", "project", "read_result", "write_report"]
