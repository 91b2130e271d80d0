"""Sections of the report, one module per topic; each makes a Section of the data.

Their order on the page is in medimg.reporting.page.
"""
