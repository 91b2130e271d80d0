"""Where a network looked, and whether that can be believed.

That is maps, and their checks against outlined lesions and against randomised weights.
"""
