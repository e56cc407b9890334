"""Files and bytes: headers, index, folders, and the only code that writes. Nothing here knows about FP8."""
