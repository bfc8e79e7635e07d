"""Ctrl-C and TERM wait until it is safe."""

import os
import signal
import threading

import pytest

from holdfast.signals import held_signals


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_is_held_back_and_a_second_one_is_not(number, raised):
    before = signal.getsignal(number)
    with held_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        with pytest.raises(raised) as caught:
            os.kill(os.getpid(), number)
        if raised is SystemExit:
            assert caught.value.code == 143
        with pytest.raises(raised):
            stop.now()
    assert signal.getsignal(number) is before


def test_while_waiting_a_signal_stops_at_once_and_an_earlier_one_too():
    with held_signals() as stop:
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            raise AssertionError("it came before")
    with held_signals() as stop:
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


def test_in_a_thread_nothing_is_held_back():
    found = []

    def work():
        before = signal.getsignal(signal.SIGINT)
        with held_signals() as stop:
            found.append((signal.getsignal(signal.SIGINT) is before, stop.signal))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(True, None)]
