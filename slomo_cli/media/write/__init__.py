"""The ffmpeg process, and where its output grows.

Nothing appears under its name before it is whole:

    encode       owns the process                  args         its command line, as one pure function
    feed         frames on their way into it       place        where the output grows, and appears
    reread       counts what was written           parts        a film in parts, to go on with
"""
