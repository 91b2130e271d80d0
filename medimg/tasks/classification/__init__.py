"""Classification: one or several heads per case, from all of its views.

The record of its callables is in task.py.

No import here: pipeline/config/run_config.py reads `settings` without paying for TensorFlow.
"""
