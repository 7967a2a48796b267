"""Detects lost bytes in the packets of a file, and how far each stream extends.

A demuxer that meets garbage silently resumes at the next position that it understands. Two signs together give it away:
the timestamps jump, and there are bytes between the packets that belong to none, many more than between packets before
and enough for the missing frames. Neither alone does: screen recordings show a picture for a long time with nothing
missing from the file, and headers and padding take bytes without a jump in time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

# Read from front to back; in others the positions of packets say nothing.
_SEQUENTIAL_FORMATS = frozenset({"asf", "flv", "matroska,webm", "mpeg", "mpegts", "nut", "ogg"})
_ALPHA = "matroska_block_additional"
# They flag whole packets as corrupt, too: the last one before a point at which two files were joined.
_OVERREPORTS_CORRUPTION = frozenset({"mpeg", "mpegts"})
# A transport stream is padded to a constant rate with packets that begin so: ISO 13818-1, 2.4.3.
_STUFFING, _STUFFING_SIZE = b"\x47\x1f\xff", 188
_MAX_READ_BYTES = 1 << 24  # of a gap, to find these
_MIN_GAP_BYTES = 300  # bytes; the header of a page of Ogg takes 282
_UNUSUAL = 2  # times as large as any gap before
_MIN_GAP_FRACTION = 1 / 16  # of what the missing frames would take at the mean size: they may be small


class _Gap(NamedTuple):
    """Bytes of a file that are in no packet, between two packets of the video in the order of decoding."""

    size: int
    frame_size: float  # mean, of the packets before it
    before: int  # when the packet before it is shown,
    after: int  # and the one behind it


class PacketLog:
    """What the packets of a file have shown so far.

    Args:
      container_name: FFmpeg's name of its format.
      read: `read(start, size)` returns bytes of the file.

    Attributes:
      is_cut: the last packet of the video is incomplete: the file ends within it.
      has_lost: bytes were lost, of frames or of something else.
      damaged_from: timestamp of the first frame that lost some of its bytes; None if none is known to have.
    """

    def __init__(self, container_name: str, read: Callable[[int, int], bytes]):
        self.is_cut = False
        self.has_lost = False
        self.damaged_from: int | None = None
        self._tells_cuts = container_name not in _OVERREPORTS_CORRUPTION
        self._is_stuffed = container_name == "mpegts"
        self._read = read
        self._ticks: dict[int, int] = {}
        self._units: dict[int, float] = {}
        self._has_places = container_name in _SEQUENTIAL_FORMATS
        self._last: Any = None  # packet of the video
        self._place: int | None = None  # of that packet, or of the page that it begins on
        self._pts: int | None = None
        self._since = 0  # bytes in packets of any stream from there on
        self._video_bytes = self._video_packets = 0
        self._usual = 0
        self._gaps: list[_Gap] = []

    @property
    def others_end(self) -> float:
        """When the last of the other streams ends, in seconds; 0 if there is none."""
        return max((ticks * self._units[index] for index, ticks in self._ticks.items()), default=0.0)

    def note_other(self, packet: Any) -> None:
        """Takes a packet of another stream than the video."""
        self._since += packet.size
        if packet.pts is None:
            return
        index, end = packet.stream_index, packet.pts + (packet.duration or 0)
        if index in self._ticks:  # checked first: PyAV makes a fraction of a time base each time that it is asked for
            self._ticks[index] = max(self._ticks[index], end)
        elif packet.time_base:
            self._ticks[index], self._units[index] = end, float(packet.time_base)

    def note_video(self, packet: Any) -> None:
        """Takes a packet of the video."""
        self.is_cut = self._tells_cuts and packet.is_corrupt
        if not self._has_places:
            return
        place, size, pts = packet.pos, packet.size, packet.pts
        if place is not None and place != self._place:  # Ogg gives all packets of a page the position of the page
            if self._place is not None and place > self._place:
                # In a transport stream the headers grow with the picture: twice their size, and room for tables.
                headers = self._since * 8 // 184 + 4 * _STUFFING_SIZE if self._is_stuffed else 0
                self._note_gap(place, place - self._place - self._since - headers, pts)
            self._place, self._since = place, 0
        self._since += size
        self._video_bytes += size
        self._video_packets += 1
        self._last, self._pts = packet, pts if pts is not None else self._pts

    def missing(self, last: int, pts: int, period: float) -> int:
        """How many frames were lost between two that are shown one after the other; 0 if none is known to be.

        Args:
          last: timestamp of the first of them.
          pts: timestamp of the second.
          period: from one frame to the next, in the same unit.
        """
        count = round((pts - last) / period) - 1
        if count < 1:
            return 0
        for gap in self._gaps:
            is_enough = gap.size >= count * gap.frame_size * _MIN_GAP_FRACTION
            if is_enough and last <= gap.after and pts > gap.before:
                return count
        return 0

    def _note_gap(self, place: int, size: int, pts: int | None) -> None:
        is_unusual = size > max(_MIN_GAP_BYTES, _UNUSUAL * self._usual)
        self._usual = max(self._usual, size)
        if not is_unusual or pts is None or self._pts is None:
            return
        if self._is_stuffed:
            start = self._place or 0
            size -= self._read(start, min(place - start, _MAX_READ_BYTES)).count(_STUFFING) * _STUFFING_SIZE
            if size < _MIN_GAP_BYTES:
                return
        self.has_lost = True
        if self._last.is_corrupt and self.damaged_from is None:
            self.damaged_from = self._last.pts
        if not self._last.has_sidedata(_ALPHA):  # a second picture, stored beside the packet
            self._gaps.append(_Gap(size, self._video_bytes / self._video_packets, self._pts, pts))
