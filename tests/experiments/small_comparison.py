"""The text, the settings and the budgets of the comparison that the tests of this folder share."""

from support import TINY

from handgrad.data import Corpus
from handgrad.experiments import Budget

SMALL = TINY.updated(
    {"n_layer": 1, "n_embd": 8, "max_steps": 24, "eval_interval": 8, "log_interval": 1, "checkpoint_interval": 8},
    "test",
)
# With capitals and, in the validation part at the end, a new word.
VERSE = "Whether 'tis Nobler in the mind to suffer the slings and arrows, Or to take arms.\n"
CORPUS = Corpus(VERSE * 40 + "Whether unaided in the mind the Whereas.\n" * 2 + VERSE, "verses | <b>.txt")
BUDGETS = {"char": Budget(24), "word": Budget(900, "characters"), "word-lowercase": Budget(8)}
