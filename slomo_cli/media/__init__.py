"""Files in and out: the only rooms that know PyAV or ffmpeg.

Four parts, each of which knows those below it only (``setup.cfg``):

    write    the ffmpeg process, and where its output grows
    tracks   sound, subtitles and all else beside the picture
    plan     what will be written, decided before the run
    read     a source, from its headers to its pictures

And what they all stand on:

    ffmpeg       finds the program                 nut          exact stamps into its pipe
    names        what names stand for              clocks       times and rates as ffmpeg reads them
    containers   what each file type holds         matroska     marks in such files
    pixels       any pixel format as planes        formats      the nearest format, and colours' names
    orientation  turned and mirrored pictures      plays        how often an animation is shown
    webp         how long its pictures stand
"""
