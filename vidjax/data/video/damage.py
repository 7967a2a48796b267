"""What the packets of a file tell besides their pictures: how far each stream reaches, and where bytes were lost.

A demuxer that meets garbage goes on at the next place that it understands, and says nothing. Two things together give
it away: the time of the frames jumps, and between their packets lie bytes that are in no packet, many more than stood
between packets before, and enough for the frames that are missing. Neither alone does: screen recordings show a picture
for long, with nothing left out of the file, and headers and padding take bytes without a jump in time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

# That are read from front to back; of others the places of packets say nothing.
_SEQUENTIAL_FORMATS = frozenset({"asf", "flv", "matroska,webm", "mpeg", "mpegts", "nut", "ogg"})
_ALPHA = "matroska_block_additional"
# These call also whole packets corrupt: the last one in front of a place where two files were joined.
_OVERREPORTS_CORRUPTION = frozenset({"mpeg", "mpegts"})
# A transport stream is filled up to a constant rate with packets of this beginning: ISO 13818-1, 2.4.3.
_STUFFING, _STUFFING_SIZE = b"\x47\x1f\xff", 188
_MAX_READ_BYTES = 1 << 24  # bytes of a hole, to find these
_MIN_GAP_BYTES = 300  # bytes; the header of a page of Ogg takes 282
_UNUSUAL = 2  # times as large as any hole before,
_MIN_GAP_FRACTION = (
    1 / 16
)  # and as so much of the bytes that frames took so far: missing ones may be of the smaller kind


class _Gap(NamedTuple):
    """Bytes of a file that are in no packet, in the order of decoding between two of the video."""

    size: int
    frame_size: float  # mean, of the packets before it
    before: int  # when the packet before it is shown,
    after: int  # and the one behind it


class PacketLog:
    """What the packets of a file told so far.

    Args:
      container_name: FFmpeg's name of its format.
      read: bytes of the file, from a place and so many.

    Attributes:
      is_cut: the last packet of the video is not whole: the file ends within it.
      has_lost: bytes were lost, of frames or of something else.
      damaged_from: when the first frame is shown that lost a part of its bytes; None where none is known to have.
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
        self._holes: list[_Gap] = []

    @property
    def others_end(self) -> float:
        """When the last of the other streams ends, in seconds; 0 where there is none."""
        return max((ticks * self._units[index] for index, ticks in self._ticks.items()), default=0.0)

    def note_other(self, packet: Any) -> None:
        """Takes a packet of another stream than the video."""
        self._since += packet.size
        if packet.pts is None or not packet.time_base:
            return
        index, end = packet.stream_index, packet.pts + (packet.duration or 0)
        if index not in self._ticks:
            self._ticks[index], self._units[index] = end, float(packet.time_base)
        elif end > self._ticks[index]:
            self._ticks[index] = end

    def note_video(self, packet: Any) -> None:
        """Takes a packet of the video."""
        self.is_cut = self._tells_cuts and packet.is_corrupt
        if not self._has_places:
            return
        place, size, pts = packet.pos, packet.size, packet.pts
        if place is not None and place != self._place:  # Ogg gives all packets of a page the place of the page
            if self._place is not None and place > self._place:
                # In a transport stream the headers grow with the picture; twice what they take, and tables between.
                headers = self._since * 8 // 184 + 4 * _STUFFING_SIZE if self._is_stuffed else 0
                self._note_hole(place, place - self._place - self._since - headers, pts)
            self._place, self._since = place, 0
        self._since += size
        self._video_bytes += size
        self._video_packets += 1
        self._last, self._pts = packet, pts if pts is not None else self._pts

    def missing(self, last: int, pts: int, period: float) -> int:
        """How many frames were lost between two that are shown one after the other; 0 where none is known to be.

        Args:
          last: when the first of them is shown.
          pts: when the second is.
          period: from one frame to the next, in the same units.
        """
        count = round((pts - last) / period) - 1
        if count < 1:
            return 0
        for hole in self._holes:
            is_enough = hole.size >= count * hole.frame_size * _MIN_GAP_FRACTION
            if is_enough and last <= hole.after and pts > hole.before:
                return count
        return 0

    def _note_hole(self, place: int, size: int, pts: int | None) -> None:
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
        if not self._last.has_sidedata(_ALPHA):  # a second picture, which stands beside the packet
            self._holes.append(_Gap(size, self._video_bytes / self._video_packets, self._pts, pts))
