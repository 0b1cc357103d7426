from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire.template import TEMPLATES, TemplateName, fill_template
from wire.sample import some_examples

names = get_args(TemplateName)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
LLAMA = "<|start_header_id|>{}<|end_header_id|>\n\n"


@pytest.mark.parametrize(
    ("name", "filled"),
    [
        (
            "alpaca",
            f"{ALPACA}\n\n### Instruction:\nHi\n\n### Response:\n",
        ),
        ("chatml", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        ("claude-2", "\n\nHuman: Hi\n\nAssistant:"),
        ("falcon", "User: Hi\nAssistant:"),
        (
            "harmony",
            "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
        ("llama-2", "[INST] Hi [/INST]"),
        (
            "llama-3",
            f"{LLAMA.format('user')}Hi<|eot_id|>{LLAMA.format('assistant')}",
        ),
        ("llm-jp", "### 指示\uff1a以下の質問に答えなさい。 ### 質問\uff1aHi ### 回答\uff1a"),
        ("mistral", "[INST] Hi [/INST]"),
        ("phi-3", "<|user|>\nHi<|end|>\n<|assistant|>\n"),
        ("zephyr", "<|user|>\nHi</s>\n<|assistant|>\n"),
    ],
)
def test_a_prompt_stands_where_the_model_expects_it(name: TemplateName, filled: str) -> None:
    assert fill_template(name, "Hi") == filled


@pytest.mark.parametrize("name", names)
@some_examples
@given(prompt=st.text())
def test_the_prompt_itself_is_never_changed(name: TemplateName, prompt: str) -> None:
    template = TEMPLATES[name]
    filled = fill_template(name, prompt)
    assert filled.removeprefix(template.before).removesuffix(template.behind) == prompt
    assert len(filled) == len(template.before) + len(prompt) + len(template.behind)


@pytest.mark.parametrize("name", names)
def test_an_answer_ends_where_the_next_turn_would_begin(name: TemplateName) -> None:
    template = TEMPLATES[name]
    around = template.before + "\n" + template.behind
    # Two are added to a client's own at servers that allow four.
    assert len(template.stop) <= 1
    for stop in template.stop:
        assert stop
        assert stop.strip() in around
