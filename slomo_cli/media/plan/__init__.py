"""What will be written, decided before the run.

Nothing here runs or writes anything, but to ask ffmpeg what it can do:

    target       everything about the picture; it asks:
    choose         which container and encoder     conform        how the planes reach it
    codecs         what each is written by         hdr            HDR10's own data, as options
    wishes         the user's own arguments        limits         what none of them can hold
    losses         what is lost on the way, in words
"""
