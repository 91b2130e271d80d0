"""Where a network looked, and whether that can be believed: maps, their check against outlined lesions and against randomised weights."""
