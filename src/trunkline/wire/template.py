"""Prompt templates: how chat-tuned open models were taught to see one user's message.

For servers that take only text: with ``prompt_mode`` set to a template's name, the prompt of a
completion is put into it. From the model cards on the Hugging Face hub, and for ``llm-jp`` from
the example in the README of its makers' training code, llm-jp/llm-jp-sft (read 2026-11-22); the
server adds the token that begins a text by itself.
"""

from typing import Final, Literal, get_args

import msgspec

TemplateName = Literal[
    "alpaca",
    "chatml",
    "claude-2",
    "falcon",
    "harmony",
    "llama-2",
    "llama-3",
    "llm-jp",
    "mistral",
    "phi-3",
    "zephyr",
]


class Template(msgspec.Struct, frozen=True):
    """What stands around the message, and the texts at which the answer ends."""

    before: str
    behind: str
    stop: tuple[str, ...] = ()


_ALPACA: Final = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
)

TEMPLATES: Final[dict[TemplateName, Template]] = {
    "alpaca": Template(f"{_ALPACA}### Instruction:\n", "\n\n### Response:\n", ("### Instruction",)),
    "chatml": Template(
        "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>",)
    ),
    "claude-2": Template("\n\nHuman: ", "\n\nAssistant:", ("\n\nHuman:",)),
    "falcon": Template("User: ", "\nAssistant:", ("\nUser:",)),
    "harmony": Template(
        "<|start|>user<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"
    ),
    "llama-2": Template("[INST] ", " [/INST]"),
    "llama-3": Template(
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ("<|eot_id|>",),
    ),
    "llm-jp": Template(
        "### 指示\uff1a以下の質問に答えなさい。 ### 質問\uff1a",
        " ### 回答\uff1a",  # the colons are wide ones
        ("### 指示",),
    ),
    "mistral": Template("[INST] ", " [/INST]"),
    "phi-3": Template("<|user|>\n", "<|end|>\n<|assistant|>\n", ("<|end|>",)),
    "zephyr": Template("<|user|>\n", "</s>\n<|assistant|>\n", ("<|user|>",)),
}

if set(TEMPLATES) != set(get_args(TemplateName)):
    raise RuntimeError("a template has no name, or a name no template")


def fill_template(name: TemplateName, prompt: str) -> str:
    """The prompt as the model was taught to see a user's message."""
    template = TEMPLATES[name]
    return f"{template.before}{prompt}{template.behind}"
