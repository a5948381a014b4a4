"""A process that judges stores, started again whenever a damaged one has killed it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class Judge:
    """`command` answers each line on its standard input with one: a verdict and a message."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.deaths = 0
        self._command = command
        self._env = env
        self._start()

    def _start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, env=self._env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

    def ask(self, question: str) -> tuple[str, str]:
        """right, error or wrong, and what was said about it."""
        self.send(question)
        return self.answer()

    def send(self, question: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()

    def answer(self) -> tuple[str, str]:
        assert self._process.stdout
        verdict, _, message = self._process.stdout.readline().rstrip().partition(" ")
        if not verdict:
            self.close()
            self.deaths += 1
            self._start()
            return "error", "died"
        return verdict, message

    def close(self) -> None:
        self._process.communicate(timeout=30)
