"""The reader of the embedded world, as a recipe names it."""

from components.portraits.attacks import spoilt
from components.portraits.outside import OUTSIDE
from components.portraits.reader.lexicon import LexiconClient
from components.portraits.translations import japanese
from components.portraits.vocabulary import VOCABULARY
from components.prompting.reader import Reader

READER = Reader("portraits", VOCABULARY, LexiconClient, attack=spoilt, translate=japanese, outside=OUTSIDE)
