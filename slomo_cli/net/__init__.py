"""Tensors only: no files of video, no media."""
