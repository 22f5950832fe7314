import os
import threading

import pytest
import torch

from latentese.dictionaries.shares import LEAST_ROWS, in_shares


@pytest.fixture
def two_threads():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.parametrize("n_rows", [0, 1, LEAST_ROWS - 1, LEAST_ROWS, 2 * LEAST_ROWS, 1001, 12345])
def test_every_row_is_worked_on_once(two_threads, n_rows):
    times = [0] * n_rows

    def work(first: int, last: int) -> None:
        for row in range(first, last):
            times[row] += 1

    in_shares(work, n_rows)
    assert times == [1] * n_rows


def test_few_rows_stay_in_the_calling_thread(two_threads):
    names = []
    in_shares(lambda *_: names.append(threading.current_thread()), LEAST_ROWS)
    assert names == [threading.current_thread()]


def test_an_error_in_a_thread_is_an_error(two_threads):
    def work(first: int, last: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_shares(work, 10 * LEAST_ROWS)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it is why there is something to test
def test_a_forked_process_starts_its_own_threads(two_threads):
    in_shares(lambda *_: None, 10 * LEAST_ROWS)
    child = os.fork()
    if child == 0:
        in_shares(lambda *_: None, 10 * LEAST_ROWS)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
