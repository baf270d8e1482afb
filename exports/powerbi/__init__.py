"""The Power BI project: a semantic model (TMDL) over the published star and a report (PBIR), generated as text."""
