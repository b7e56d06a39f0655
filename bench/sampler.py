"""korat with a sampler beside it: ``python -m bench.sampler FILE VERB...``.

A thread looks every few milliseconds at where every other thread is, and at the end writes which
functions were seen most, alone and with what they call. SIGUSR1 makes it begin anew, so that what
came before the measuring does not count. It is in the process and takes turns with what it looks
at, so calls that keep the interpreter to themselves count for the line after them.
"""

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from korat.cli.main import main

_EVERY_S = 0.002
_SHOWN = 40
#: Where threads wait for something to do.
_WAITING = ("threading.py", "selectors.py", "inotify.py", "monitor.py")


class Sampler:
    """Counts until ``stop``."""

    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._samples = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def restart(self) -> None:
        """Forget what was seen."""
        self._own, self._whole, self._samples = Counter(), Counter(), 0

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            for number, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way
                if number != threading.get_ident() and not _waits(frame):
                    self._count(frame)

    def _count(self, frame: FrameType) -> None:
        self._samples += 1
        places = list(dict.fromkeys(_places(frame)))
        self._own[places[0]] += 1
        self._whole.update(places)

    def text(self) -> str:
        """What was seen, most first."""
        lines = [f"{self._samples} samples of threads at work, every {_EVERY_S * 1000:g} ms"]
        for title, counted in (("alone", self._own), ("with what they call", self._whole)):
            lines += ["", title]
            lines += [
                f"{100 * number / max(self._samples, 1):6.1f} %  {place}"
                for place, number in counted.most_common(_SHOWN)
            ]
        return "\n".join(lines) + "\n"


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_WAITING)


def _places(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        code = frame.f_code
        _, found, inside = code.co_filename.rpartition("/korat/")
        yield f"{code.co_qualname} ({inside if found else Path(code.co_filename).name})"
        frame = frame.f_back


def run(path: Path) -> None:
    """Be korat with the remaining arguments, and write what was seen at its end."""
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, lambda *_: sampler.restart())
    sampler.start()
    try:
        main()
    finally:
        sampler.stop()
        path.write_text(sampler.text(), "utf-8")


if __name__ == "__main__":
    target = Path(sys.argv.pop(1))
    run(target)
