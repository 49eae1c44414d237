"""The verbs, over the store."""

from steelyard.lifecycle.advising import advise
from steelyard.lifecycle.asking import chosen_system, newest_verdict, weighed_tasks
from steelyard.lifecycle.checking import Audit, check
from steelyard.lifecycle.due import refresh_due
from steelyard.lifecycle.exporting import Exported, export
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.learning import learn, unlearn
from steelyard.lifecycle.planning import plan
from steelyard.lifecycle.publishing import Published, publish, rollback
from steelyard.lifecycle.refreshing import Refreshed, refresh
from steelyard.lifecycle.releases import Served, find_release, open_release
from steelyard.lifecycle.reports import (
    Files,
    find_verdict,
    json_text,
    keep_audit,
    recipe_file,
    write_report,
)
from steelyard.lifecycle.watching import Standing, status
from steelyard.lifecycle.weigh import weigh

__all__ = [
    "DEFAULT_HOME",
    "Audit",
    "Exported",
    "Files",
    "Home",
    "Published",
    "Refreshed",
    "Served",
    "Standing",
    "advise",
    "check",
    "chosen_system",
    "export",
    "find_release",
    "find_verdict",
    "json_text",
    "keep_audit",
    "learn",
    "newest_verdict",
    "open_home",
    "open_release",
    "plan",
    "publish",
    "recipe_file",
    "refresh",
    "refresh_due",
    "rollback",
    "status",
    "unlearn",
    "weigh",
    "weighed_tasks",
    "write_report",
]
