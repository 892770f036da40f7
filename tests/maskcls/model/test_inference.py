"""Photos to inputs, and the batches of validation; the ways that only a GPU takes are computed on the CPU here."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from maskcls.config import change
from maskcls.model import inference
from maskcls.model.inference import to_input, validation_batch_size
from tests.helpers.data.augment import assert_close, some_bytes
from tests.helpers.training import CPU, TINY

CUDA = torch.device("cuda")


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_one_pass_gives_what_the_passes_of_a_cpu_give(memory_format: str) -> None:
    config = change(TINY, memory_format=memory_format)
    for image_BCHW in (some_bytes(3, 3, 9, 7), some_bytes(3, 3, 9, 7) / 255):
        expected = to_input(image_BCHW, config)
        got = inference._in_one_pass(image_BCHW, config.backbone, inference.MEMORY_FORMATS[memory_format])
        assert_close(got, expected)
        assert got.dtype == torch.float32
        assert got.stride() == expected.stride()


def test_bytes_and_shares_of_white_are_the_same_input() -> None:
    image_BCHW = some_bytes(3, 3, 9, 7)
    assert torch.equal(to_input(image_BCHW, TINY), to_input(image_BCHW.float() / 255, TINY))


def test_constants_that_validation_made_serve_training() -> None:
    inference._scale_and_shift.cache_clear()
    image_BCHW = torch.rand(2, 3, 4, 4, requires_grad=True)
    with torch.inference_mode():
        first = inference._scale_and_shift(TINY.backbone, 1, CPU)
    scale_C11, shift_C11 = inference._scale_and_shift(TINY.backbone, 1, CPU)
    assert scale_C11 is first[0]
    torch.addcmul(shift_C11, image_BCHW, scale_C11).sum().backward()


def test_on_a_gpu_an_input_waits_for_nothing() -> None:
    inference._scale_and_shift.cache_clear()
    try:
        with FakeTensorMode():  # tensors without data
            image_BCHW = torch.zeros(4, 3, 32, 20, dtype=torch.uint8, device="cuda")
            input_BCHW = to_input(image_BCHW, change(TINY, memory_format="channels_last"))
    finally:
        inference._scale_and_shift.cache_clear()
    assert input_BCHW.device.type == "cuda"
    assert input_BCHW.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("gib", "size", "batch", "micro", "photos", "expected"),
    [
        (80, 224, 32, 32, 4000, 500),  # eight of 500 rather than seven of 512 and one of 416
        (80, 224, 32, 32, 100, 100),
        (80, 224, 32, 16, 4000, 64),  # memory was short: four micro-batches
        (80, 1024, 32, 32, 4000, 125),  # memory is short: four batches, less what would be computed in vain
        (8, 224, 32, 32, 4000, 125),
        (24, 224, 32, 32, 4000, 250),
        (80, 224, 256, 256, 4000, 1000),
    ],
)
def test_a_gpu_validates_in_large_batches_where_training_left_room(
    gib: int, size: int, batch: int, micro: int, photos: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(TINY, image_size=size, batch_size=batch, micro_batch=micro)
    memory = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    assert validation_batch_size(config, CUDA, photos) == expected
    assert validation_batch_size(config, CPU, photos) == 4 * micro


def test_a_last_batch_is_filled_up_to_the_shape_of_the_others() -> None:
    image_BCHW = some_bytes(3, 3, 5, 4)
    filled_BCHW = inference._fill_up(image_BCHW, 8)
    assert filled_BCHW.shape == (8, 3, 5, 4)
    assert torch.equal(filled_BCHW[:3], image_BCHW)
    assert not filled_BCHW[3:].any()
    assert torch.equal(inference._fill_up(image_BCHW, 2), image_BCHW)
