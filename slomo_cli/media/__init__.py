"""Files in and out: the only rooms that know PyAV or ffmpeg.

A source, from its headers to its pictures:

    source       opens it safely                   probe        what its headers say
    sequence     numbered pictures as a film       scan         the pictures' true times, by walking over packets
    grid         exact times out of rounded ones   fields       packets that hold a second field
    edits        edit lists that change the speed  mpeg4        packets that hold two pictures, or none
    strays       stamps damaged on the way
    decode       pictures in order, as planes      pixels       any pixel format as planes
    deinterlace  whole pictures out of fields      uniform      every picture as the first one is
    cuts         cuts and repeats                  view, still  pictures as people see them; still ones
    icc          colour profiles in pictures       plays        how often an animation is shown

What will be written, decided before the run:

    names        names of outputs                  target       everything about the picture; it asks:
    containers   what each file type holds         choose         which container and encoder
    codecs       what each codec is written by     conform        how the planes reach it
    formats      the nearest pixel format          hdr, orientation   HDR10 and rotation, as options
    wishes       the user's own arguments          args         the ffmpeg command, as one pure function
    ffmpeg       finds the program                 clocks       times and rates as ffmpeg reads them
    limits       what none of them can hold

The tracks beside the picture:

    carry        what comes along; it fills a      draft        from which ``carried`` is made
    soundtracks  sound: copied, encoded, bent      sound        which codec sound goes into
    stretch      bent by ffmpeg's filters          vocoder      bent by slomo, with its pitch kept
    soundfeed    handed over while ffmpeg runs     soundcopy    packets of joined recordings, likewise
    soundclock   when such sound is heard
    subtitles    captions and chapters on the new time
    tags         titles, languages, dispositions   inputs       further inputs of the ffmpeg process
    jobs         temporary files they need

Writing:

    encode       owns the ffmpeg process           feed         frames on their way into it
    place        where the output grows            reread       counts what was written
    parts        a film in parts, to go on with    matroska     one mark in a finished file
"""
