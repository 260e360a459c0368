"""Owns the way out of one connection: how much the server lets us send (RFC 9113, section 5.2), and the bodies that
wait for it to let in more."""

from __future__ import annotations

from dataclasses import dataclass

from covey_load.wire.frames import DATA, DEFAULT_MAX_FRAME_BYTES, DEFAULT_WINDOW_BYTES, END_STREAM, frame


@dataclass(slots=True)
class _Upload:
    """A body that did not fit at once."""

    body: bytes
    window_bytes: int
    sent_bytes: int = 0


class Uploads:
    """The windows of a connection and of its calls. Sizes not yet announced are those of the standard."""

    def __init__(self) -> None:
        self.max_frame_bytes = DEFAULT_MAX_FRAME_BYTES
        self._initial_window_bytes = DEFAULT_WINDOW_BYTES
        self._window_bytes = DEFAULT_WINDOW_BYTES
        self._waiting: dict[int, _Upload] = {}  # by stream id, in the order of their calls

    def take(self, size_bytes: int) -> bool:
        """Whether a body of a new call may be sent at once, as one frame; if so, it is counted as sent."""
        if self._waiting or size_bytes > min(self._window_bytes, self._initial_window_bytes, self.max_frame_bytes):
            return False
        self._window_bytes -= size_bytes
        return True

    def add(self, stream_id: int, body: bytes) -> None:
        """Takes in the body of a new call, to be sent piece by piece."""
        self._waiting[stream_id] = _Upload(body, self._initial_window_bytes)

    def drop(self, stream_id: int) -> bool:
        """Forgets what is left of a call's body; whether anything was."""
        return self._waiting.pop(stream_id, None) is not None

    def clear(self) -> None:
        """Forgets all bodies."""
        self._waiting.clear()

    def widen(self, stream_id: int, increment_bytes: int) -> None:
        """The server opens the window of a call, or with 0 that of the connection."""
        if stream_id == 0:
            self._window_bytes += increment_bytes
        elif stream_id in self._waiting:
            self._waiting[stream_id].window_bytes += increment_bytes

    def set_initial_window(self, size_bytes: int) -> None:
        """The server says how wide windows of calls are; those of open calls move too (section 6.9.2)."""
        for upload in self._waiting.values():
            upload.window_bytes += size_bytes - self._initial_window_bytes
        self._initial_window_bytes = size_bytes

    def frames(self) -> list[bytes]:
        """DATA of waiting bodies, oldest call first, as far as the windows are open."""
        frames: list[bytes] = []
        done = []
        for stream_id, upload in self._waiting.items():
            body = upload.body
            while upload.sent_bytes < len(body):
                size = min(self.max_frame_bytes, upload.window_bytes, self._window_bytes)
                part = body[upload.sent_bytes : upload.sent_bytes + max(size, 0)]
                if not part:
                    break
                upload.sent_bytes += len(part)
                upload.window_bytes -= len(part)
                self._window_bytes -= len(part)
                is_last = upload.sent_bytes == len(body)
                frames.append(frame(DATA, END_STREAM if is_last else 0, stream_id, part))
            else:
                done.append(stream_id)
            if self._window_bytes <= 0:
                break
        for stream_id in done:
            del self._waiting[stream_id]
        return frames
