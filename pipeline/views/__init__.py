"""Views of a finished run for notebooks: tables of pandas, and drawings that need no network.

They show in JupyterLab, in Notebook and in exported HTML.

Model Analysis and Data Validation bring views of their own, but theirs need an extension of the classic
notebook, or the internet.
"""
