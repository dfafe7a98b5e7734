"""How fast slomo is on this machine: every stage alone, all of them together, and ffmpeg's own interpolation beside it.

In the order of their use:

    clip         a moving picture to measure on    machine      clocks, memory, the matrix peak
    stages       one stage after another, alone    child        a whole conversion in a process of its own
    rival        ffmpeg's minterpolate beside it   run          all of these for one clip
    report       the result as tables and JSON
"""
