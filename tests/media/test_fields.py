"""Interlaced pictures whose fields are stored apart, as camcorders and broadcasts do; no free encoder makes them."""

from __future__ import annotations

from array import array

from slomo_cli.media.scan import _Walk


def walk(stored: list[int], decoded: list[int]) -> _Walk:
    """A walk that met packets with these stamps and saw these pictures."""
    made = _Walk.__new__(_Walk)
    made.ticks = array("q", stored)
    made.pictures_seen = list(decoded)
    made.packet_duration = 1800
    made.joins = []
    made._trial = 24
    return made


def test_two_packets_for_each_picture_are_noticed() -> None:
    assert walk([1800 * k for k in range(40)], [3600 * k for k in range(10)]).fields_apart()


def test_a_packet_for_each_picture_is_not_taken_for_fields() -> None:
    assert not walk([3600 * k for k in range(40)], [3600 * k for k in range(22)]).fields_apart()


def test_a_decoder_that_lags_behind_proves_nothing() -> None:
    assert not walk([3600 * k for k in range(40)], [0, 3600, 7200]).fields_apart()
    assert not walk([3600 * k for k in range(40)], [3600 * k for k in range(4, 12)]).fields_apart()


def test_stamps_that_merely_count_are_no_times() -> None:
    counted = walk(list(range(30)), [])
    counted.packet_duration = 40000
    assert counted.stamps_are_counters()
    assert not walk([1800 * k for k in range(30)], []).stamps_are_counters()
