"""Makes what the chart ships and nobody writes by hand: `python -m deploy.generate`.

values.schema.json and the table of values come from values.yaml, dashboards and alert rules from
code.
"""

from pathlib import Path

CHART = Path(__file__).parents[1] / "helm" / "affectmesh"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
