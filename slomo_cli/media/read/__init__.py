"""A source, from its headers to its pictures.

Nothing here knows what will be written:

    opening      opens a file safely               source       the picture's track: packets and decoder
    sequence     numbered pictures as a film
    probe        what the headers say; of it       header       what only libav's Matroska writer tells
    beside       sound, captions, chapters, tags   icc          colour profiles in pictures
    scan         the pictures' true times; it asks:
    walk         what is met on a way over packets grid         exact times out of rounded ones
    fields       packets that hold a second field  mpeg4        packets that hold two pictures, or none
    stamps       stamps mended one by one          strays       stamps damaged on the way
    joins        where recordings were joined      edits        edit lists that change the speed
    decode       pictures in order, as planes      uniform      every picture as the first one is
    deinterlace  whole pictures out of fields      view, still  pictures as people see them; still ones
    framing      are packets of sound whole, and alike?
"""
