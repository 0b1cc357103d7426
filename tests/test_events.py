import msgspec
import pytest

from trunkline.events import Usage


@pytest.mark.parametrize(("prompt", "completion", "total"), [(3, 2, 6), (3, 2, 0), (0, 0, 1)])
def test_a_usage_has_no_other_total_than_the_sum(prompt: int, completion: int, total: int) -> None:
    with pytest.raises(ValueError, match="not the sum"):
        Usage(prompt, completion, total)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    told = dict(zip(names, (prompt, completion, total), strict=True))
    with pytest.raises(msgspec.ValidationError, match="not the sum"):
        msgspec.convert(told, Usage)
    summed = {**told, "total_tokens": prompt + completion}
    assert msgspec.convert(summed, Usage) == Usage(prompt, completion, prompt + completion)
