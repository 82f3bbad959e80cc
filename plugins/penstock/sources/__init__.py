"""How records come in: the platform's sources, and those in the folder of the user's data sets."""

from penstock.core.settings import data_sets_folder

__path__.append(str(data_sets_folder() / "sources"))
