"""Figures that the trade expects, each declared once: in DAX for Power BI and in SQL for proof and for explanation."""
