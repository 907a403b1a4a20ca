"""Error tree: the two roots of every exception class of Trainyard.

    TrainyardError          a person can act on it: one sentence, and the mend
     ├ SettingsError        a setting is wrong
     ├ ContractError        what came in is none of the contract
     ├ CheckpointDamaged    a checkpoint is not what its manifest says
     ├ BridgeError          the bridge refused a call
     ├ UnsuitableRedis      Redis does not answer, or would lose jobs
     ├ TrainingError        data set, model, configuration, divergence: see tasks.errors
     ├ AttemptFailed, AttemptLost    the end of an attempt that did not end well
     └ ...                  the others stand beside what raises them

    Interruption            no error: what is under way is left for what comes instead
     ├ Stopped, Paused      a person asked for it
     ├ HoldLost             another sender has the job
     └ NotPlain, NotUtf8, BrokenOff ...    another reader, or another try

A command catches TrainyardError and prints it; whoever needs to know more catches a class below.
A test counts the roots. Imports nothing, so that whatever is small may raise one.
"""

from __future__ import annotations


class TrainyardError(Exception):
    """An error that a person can act on: ``sentence`` says what is wrong, ``mend`` what to do.

    ``args`` stay those of the constructor, as ``BaseException.__new__`` sets them, so that an error
    of any subclass pickles: some pass from one process to another.
    """

    def __init__(self, sentence: str, mend: str = "") -> None:
        self.sentence = sentence
        self.mend = mend

    def __str__(self) -> str:
        if not self.mend:
            return self.sentence
        return f"{self.sentence}{' ' if self.sentence.endswith('.') else ': '}{self.mend}"


class Interruption(Exception):
    """Control flow, and no error: unwinds to whoever knows what comes next."""
