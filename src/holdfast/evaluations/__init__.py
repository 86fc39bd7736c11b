"""One file per evaluation."""

DEFAULT = ("performance", "worst-group", "shift-drop", "confusion", "calibration", "agreement")
"""References of the evaluations of a run that names none; each is made where its ``kinds`` hold the task's."""
