"""Development scripts that make the embedded world from drawings of many design teams.

Not part of the installed package. `python -m world` runs all steps (see `__main__`).
"""
