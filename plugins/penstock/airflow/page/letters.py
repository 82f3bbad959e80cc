"""Dead letters as the page shows them: the ledger's account, and for one of them the value from Kafka."""

from __future__ import annotations

import json
from typing import Any

from penstock.airflow.candidates import decoded, described
from penstock.core.errors import PenstockError
from penstock.core.settings import Kafka
from penstock.kafka import dead_letters
from penstock.ledger.dead_letters import LetterRow

MOST_CHARACTERS = 20_000
"""Of a value that is shown: the largest that a topic keeps would take a browser seconds."""

_TIMEOUT_SECONDS = 10.0
_HEX_LINE = 16


def value_of(row: LetterRow) -> dict[str, Any]:
    """The record as text, or None and why it cannot be had; `cut` where there is more of it than is shown.

    Bytes that are no record of the data set are shown as they are, and `undecoded` says why they are none.
    """
    try:
        kafka = Kafka.from_env()
        letter = dead_letters.read_at(kafka, row.topic, row.partition, row.offset, timeout=_TIMEOUT_SECONDS)
    except PenstockError as error:
        return {"value": None, "bytes": None, "cut": False, "lacking": str(error), "undecoded": None}
    undecoded = None
    try:
        text = json.dumps(decoded(described(row.data_set), letter, kafka), indent=2, ensure_ascii=False, default=str)
    except (PenstockError, ValueError) as error:
        text, undecoded = readable(letter.value), str(error)
    return {
        "value": text[:MOST_CHARACTERS],
        "bytes": len(letter.value),
        "cut": len(text) > MOST_CHARACTERS,
        "lacking": None,
        "undecoded": undecoded,
    }


def readable(value: bytes) -> str:
    """JSON over several lines, other text as it is, and bytes that are no text in hexadecimal, 16 a line."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "\n".join(value[at : at + _HEX_LINE].hex(" ") for at in range(0, len(value), _HEX_LINE))
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
