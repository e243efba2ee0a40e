"""Signals without signals: machines are asked to stop while a test runs them."""

import sys
import threading
import time

import pytest

from vcpu_env.base import interrupts


class Stopping:
    """Asks machines to stop, again and again; each time they stop at another event.

    Attributes:
        heard: how often one has stopped.
    """

    def __enter__(self):
        self.going, self.heard = True, 0
        self.patch = pytest.MonkeyPatch()
        heard = interrupts.heard
        for module in [module for module in sys.modules.values() if vars(module).get("heard") is heard]:
            self.patch.setattr(module, "heard", self.hear)
        interrupts._ask(1)
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()
        return self

    def hear(self):
        self.heard += 1
        interrupts._ask(0)

    def ask(self):
        while self.going:
            interrupts._ask(1)
            time.sleep(0.001)

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        self.patch.undo()
        interrupts._ask(0)
