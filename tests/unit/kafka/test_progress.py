import pytest

from penstock.kafka.progress import Progress

HALF_WAY = Progress(offset=5, position=9, newest=1_767_268_800_000, closed_before=1_767_268_740_000, late=2)


def test_what_was_written_is_read():
    assert Progress.read(5, HALF_WAY.metadata()) == HALF_WAY


def test_stray_bytes_behind_it_change_nothing():
    assert Progress.read(5, HALF_WAY.metadata() + "\x03½x") == HALF_WAY


@pytest.mark.parametrize("metadata", [None, "", "07a1fbd3-3b1c-4b0e-8f5e-6a0b54f6a0c7", "7", '{"position":"9"}', "{"])
def test_another_program_s_metadata_tells_nothing_but_the_offset(metadata):
    assert Progress.read(5, metadata) == Progress(5, 5)
