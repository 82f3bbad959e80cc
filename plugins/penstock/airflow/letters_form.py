"""The form of a maintenance run: what is to be done with dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.sdk import Param

from penstock.core.errors import Fatal


def letters_form() -> dict[str, Param]:
    """The form of a maintenance run: the dead letters that are to be replayed or dropped; none, in its hourly runs."""
    return {
        "replay": _ids_param("Letters to replay", "Ids of dead letters, as the page and `penstock dlq list` show them"),
        "mended": Param(
            None,
            title="Mended records",
            description='What is to be replayed in the place of a letter\'s own record: {"ID": {"FIELD": VALUE, ...}}',
            type=["null", "object"],
            patternProperties={"^[1-9][0-9]*$": {}},
            additionalProperties=False,
        ),
        "drop": _ids_param("Letters to drop", "Ids of those that nobody needs: they stay on their topic"),
        "why": Param(
            None,
            title="Why they are dropped",
            description="One sentence; it is kept with the letters",
            type=["null", "string"],
            maxLength=1000,
        ),
        "by": Param(
            None,
            title="Who asks for it",
            description="Left empty: who has triggered the run",
            type=["null", "string"],
            maxLength=200,
        ),
    }


def _ids_param(title: str, description: str) -> Param:
    items = {"type": "integer", "minimum": 1}
    return Param(None, title=title, description=description, type=["null", "array"], items=items)


@dataclass(frozen=True)
class LettersAsked:
    """What a maintenance run is asked to do with dead letters: nothing, in its hourly runs."""

    replay: tuple[int, ...] = ()
    mended: Mapping[int, Any] = field(default_factory=dict)
    drop: tuple[int, ...] = ()
    why: str = ""
    by: str | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> LettersAsked:
        """What the form says. Raises Fatal where that contradicts itself."""
        found = cls(
            tuple(params.get("replay") or ()),
            {int(letter): value for letter, value in (params.get("mended") or {}).items()},
            tuple(params.get("drop") or ()),
            (params.get("why") or "").strip(),
            params.get("by") or None,
        )
        if found.drop and not found.why:
            raise Fatal("say why these letters are dropped: it is kept with them")
        if both := sorted(set(found.replay) & set(found.drop)):
            raise Fatal(f"letters are to be replayed and dropped: {', '.join(map(str, both))}; choose one")
        if unasked := sorted(found.mended.keys() - set(found.replay)):
            raise Fatal(f"mended records are of letters that are not replayed: {', '.join(map(str, unasked))}")
        return found

    @property
    def nothing(self) -> bool:
        """Whether this is an hourly run."""
        return not (self.replay or self.drop)
