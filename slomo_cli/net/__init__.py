"""Tensors only: no files of video, no media.

    motion       what a network answers            presets      the networks by name
    unet         the U-Net of the paper            superslomo   the paper's network
    fast         the network for small machines    fast_cpu     the same, arranged for a CPU
    dominant     what moves as much else does      leap         small things that move far
    carried      what equation 4 loses half way    bend         the way through four frames
    warp         backward warping, equations 1-5   fuse         motion applied to planes
    proxy        what a network sees, of planes    runner       a network as it is run
    weights      found, verified, read, written    checkpoints  published ones, imported

``interpolate``, one floor up, joins them to the frames of a film.
"""
