"""What a process wrote, as people read it: lines, their numbers, levels and colours, finding, and moments.

No I/O of its own: it reads through a `Source`. That blocks, so all but what takes texts is called from threads.
"""
