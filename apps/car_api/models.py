"""What the API takes and gives, as its OpenAPI description shows it."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from penstock.core.contract import Contract, Kind

_TYPES: dict[Kind, Any] = {
    Kind.BOOLEAN: bool,
    Kind.INT: int,
    Kind.LONG: int,
    Kind.FLOAT: float,
    Kind.DOUBLE: float,
    Kind.STRING: str,
    Kind.TIMESTAMP: int,
}


def transaction_model(contract: Contract, name: str, *, posted: bool = False) -> type[BaseModel]:
    """The model of a record of `contract`; in one that is `posted`, a time may be a text too."""
    fields: dict[str, Any] = {}
    for field in contract.fields:
        is_time = field.kind is Kind.TIMESTAMP
        unit = "ms since the epoch" if is_time else field.unit
        described = " ".join(filter(None, [field.doc, f"Unit: {unit}." if unit else None]))
        if is_time and posted:
            described += " Or a time in ISO 8601 with its UTC offset."
        kind = int | AwareDatetime if is_time and posted else _TYPES[field.kind]
        fields[field.name] = (kind, Field(description=described, ge=field.minimum, le=field.maximum))
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=contract.schema.get("doc"), **fields)


def page_model(transaction: type[BaseModel]) -> type[BaseModel]:
    """The model of a page of transactions."""
    fields: dict[str, Any] = {
        "total": (int, Field(description="Transactions of the whole interval.", ge=0)),
        "transactions": (list[transaction], Field(description="Those of this page, by their ids.")),  # type: ignore[valid-type]
        "next": (int | None, Field(description="Give it as `after` for the next page; null on the last one.")),
    }
    return create_model("Page", __doc__="Some of an interval's transactions.", **fields)


class Accepted(BaseModel):
    """All posted transactions are on the topic, on all replicas."""

    accepted: int = Field(description="How many there were.", ge=0)


class Problem(BaseModel):
    """Why the request was not granted."""

    detail: str = Field(description="One sentence.")


class Record(BaseModel):
    """A posted transaction that breaks the contract."""

    position: int = Field(description="Its place in what was posted, counted from 1.", ge=1)
    reason: str = Field(description="What is wrong with it.")


class Refused(Problem):
    """Nothing was sent, because some of what was posted cannot be taken."""

    records: list[Record] = Field(description="The first of the transactions that break the contract.")


class Health(BaseModel):
    """Whether the API and the Kafka behind it answer."""

    status: str = Field(description="`ok` or `degraded`.")
    kafka: str = Field(description="`reachable`, or what is wrong.")
