import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Keep tiny tensors on one thread: on a busy machine, several wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
