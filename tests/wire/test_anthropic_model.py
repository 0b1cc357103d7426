import pytest

from trunkline.wire.anthropic_model import ClaudeModel, read_model


@pytest.mark.parametrize(
    ("name", "version", "family"),
    [
        ("claude-opus-4-1-20250805", (4, 1), "opus"),
        ("claude-opus-4-20250514", (4, 0), "opus"),
        ("claude-sonnet-4@20250514", (4, 0), "sonnet"),
        ("claude-3-5-sonnet-20241022", (3, 5), "sonnet"),
        ("claude-3-opus-20240229", (3, 0), "opus"),
        ("us.anthropic.claude-opus-4-7-v1:0", (4, 7), "opus"),
        ("anthropic/claude-opus-5.5", (5, 5), "opus"),
        ("claude-4.7-opus", (4, 7), "opus"),
        ("Claude-Fable-5-1", (5, 1), "fable"),
        ("claude-sonnet-5", (5, 0), "sonnet"),
        ("claude-2.1", (2, 1), ""),
        ("anthropic.claude-v2:1", (2, 0), ""),
        ("claude-instant-1.2", (1, 2), "instant"),
        ("claude-mythos-preview", (99, 0), ""),
        ("qwen3-8b", (0, 0), ""),
    ],
)
def test_a_name_tells_version_and_family(name: str, version: tuple[int, int], family: str) -> None:
    assert read_model(name) == ClaudeModel(version, family)


@pytest.mark.parametrize(
    ("name", "thinking", "off", "sampling", "schemas", "forced"),
    [
        ("qwen3", "budget", "disabled", "all", False, True),
        ("claude-2.1", "never", "", "all", False, True),
        ("claude-3-5-haiku-20241022", "never", "", "all", False, True),
        ("claude-3-7-sonnet-20250219", "budget", "", "all", False, True),
        ("claude-sonnet-4-20250514", "budget", "", "all", False, True),
        ("claude-opus-4-1", "budget", "", "one", False, True),
        ("claude-haiku-4-5", "budget", "", "one", True, True),
        ("claude-opus-4-6", "adaptive", "", "one", True, True),
        ("claude-opus-4-8", "adaptive", "", "none", True, True),
        ("claude-opus-5", "adaptive", "disabled", "none", True, True),
        ("claude-sonnet-5", "adaptive", "disabled", "none", True, True),
        ("claude-fable-5", "adaptive", "never", "none", True, True),
        ("claude-fable-5-1", "adaptive", "never", "none", True, False),
        ("claude-opus-5-5", "adaptive", "never", "none", True, False),
        ("claude-sonnet-5-5", "adaptive", "between_tools", "none", True, False),
        ("claude-haiku-5-5", "adaptive", "disabled", "none", True, True),
        ("claude-next", "adaptive", "never", "none", True, False),
    ],
)
def test_what_a_model_takes(
    name: str, thinking: str, off: str, sampling: str, schemas: bool, forced: bool
) -> None:
    model = read_model(name)
    assert (model.thinking, model.off) == (thinking, off)
    assert (model.holds_schemas, model.forces_tools) == (schemas, forced)
    takes = "none" if model.fixes_sampling else "one" if model.takes_one_sampler else "all"
    assert takes == sampling
