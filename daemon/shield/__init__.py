"""From wanted Shields to what the XDP program drops by, and back to words.

Lists are kept as columns from the file to the kernel's maps: a hundred thousand lines are an ordinary list. What the
lists say against each other is settled here (`compile`), so that the kernel only has to find the longest prefix.
"""
