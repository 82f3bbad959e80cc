"""An API with a ledger of car sales: each a function of its moment, so that all readers see the same ones."""
