"""The tracks beside the picture.

Each track is copied, or brought to the new time, or told as left out:

    carry           what comes along; it fills a      draft        from which ``carried`` is made
    soundtracks     sound: copied, encoded, bent      sound        which codec sound goes into
    stretch         bent by ffmpeg's filters          vocoder      bent by slomo, with its pitch kept
    samples         decoded, on the output's clock    soundfeed    handed over while ffmpeg runs
    soundcopy       packets of joined recordings      soundclock   when such sound is heard
    subtitletracks  captions: copied, encoded, moved  subtitles    moved, in files of their own
    innerclock      times that captions carry inside  chapters     kept, or moved
    attached        covers, fonts and other files     tags         titles, languages, dispositions
    inputs          further inputs of the ffmpeg process
"""
