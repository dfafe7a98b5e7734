"""How fast slomo is on this machine: every stage alone, all of them together, and ffmpeg's own interpolation beside it.

clip      a moving picture to measure on
stages    one stage after another, alone
child     a whole conversion in a process of its own, as a user runs it
rival     ffmpeg's minterpolate on the same clip and cores
run       all of these for one clip
report    the result as tables and as JSON
"""
