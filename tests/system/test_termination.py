import subprocess
import sys

_LOST = """
import signal, time
from vidjax.system.termination import recover_lost_interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        sum(range(10))

{install}
try:
    Finalized()
    time.sleep(2)
    print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interruption_within_a_finalizer_is_not_lost():
    """Without `recover_lost_interrupts` it is, which shows that the program asks what it is meant to."""
    for install, expected in (("", "went on"), ("recover_lost_interrupts()", "interrupted")):
        program = [sys.executable, "-c", _LOST.format(install=install)]
        ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
        assert ended.stdout.strip() == expected, ended
