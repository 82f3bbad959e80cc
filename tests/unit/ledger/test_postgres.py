import pytest

from penstock.core.errors import Fatal, Retry
from penstock.ledger import postgres
from penstock.ledger.store import Ledger

SECRET = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"postgresql//u:{SECRET}@h/d",
        f"postgresql+psycopg2://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}%zz@h/d",
        f"postgresql://u:{SECRET}/x@h:5432/d",
        f"password={SECRET} host=h",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(Fatal, match="postgresql://USER:PASSWORD@HOST") as raised:
        Ledger(url)
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is None


def test_an_address_is_shown_without_user_and_password() -> None:
    assert repr(Ledger(f"postgresql://u:{SECRET}@db:5433/penstock")) == "Ledger(db:5433/penstock)"


def test_the_url_s_own_options_are_kept() -> None:
    address = postgres.Address("postgresql://u:p@h/d?options=-csearch_path%3Dsome&connect_timeout=3")
    conninfo = address.conninfo(statement_timeout=1.5)
    assert "-csearch_path=some -c TimeZone=UTC" in conninfo
    assert "statement_timeout=1500" in conninfo
    assert "connect_timeout=3" in conninfo


def test_a_ledger_that_is_away_is_worth_a_retry_and_shows_no_password() -> None:
    with pytest.raises(Retry, match=r"127\.0\.0\.1:1/d can't be reached") as raised:
        Ledger(f"postgresql://u:{SECRET}@127.0.0.1:1/d").batches()
    assert SECRET not in f"{raised.value}{raised.value.__cause__!r}"
