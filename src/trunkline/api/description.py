"""What the reference says about schemas, fields and error codes, in the words of their users.

Types, ranges and defaults are not here: ``openapi`` reads them from the code.
"""

from typing import Final

from trunkline.errors import Code

_MODEL: Final = (
    "Public name of the model, as `GET /v1/models` lists it, or `provider/model` for anything "
    "that a configured provider serves."
)
_STREAM: Final = "Send the answer as server-sent events while it is written."
_OPTIONS: Final = "Options of a streamed answer."
_STOP: Final = "Texts that end the answer; they are not part of it."
_SEED: Final = "Asks for the same answer to the same request, as far as the model can."
_BIAS: Final = "Makes tokens likelier or less likely, by token id."
_FREQUENCY: Final = "Above 0: tokens become less likely the more often they have occurred."
_PRESENCE: Final = "Above 0: tokens become less likely once they have occurred."
_MAX_TOKENS: Final = "Most tokens that the answer may have."
_TOP_P: Final = "Sample only from the likeliest tokens that together have this probability."
_TOP_K: Final = "Sample only from this many likeliest tokens."
_USER: Final = "Your own id for the end user."
_REASONING: Final = "How long a reasoning model may think."

SCHEMAS: Final[dict[str, str]] = {
    "CompletionBody": "One prompt in, one text out.",
    "ChatBody": "A conversation in, the assistant's message out. Fields beyond these go upstream "
    "unchanged; what stands inside messages and tools is for the model's server to judge.",
    "TextBody": "Prompts in, texts out, in OpenAI's legacy shape. Fields beyond these go upstream "
    "unchanged.",
    "EmbeddingBody": "Texts in, a vector for each out. Fields beyond these go upstream unchanged.",
    "ModelParameters": "Sampling parameters.",
    "ImageRef": "An image, by address or as a data URL.",
    "JsonObject": "Any JSON object.",
    "Usage": "Tokens, as the provider counted them.",
    "TokenUsage": "Tokens, as the provider counted them.",
    "CompletionChunk": "One event of a streamed completion: `completion.text` holds the new text "
    "only. The fields below `token_usage` repeat it for clients that read another class.",
    "TextLogprobs": "Log probabilities in the legacy shape: parallel lists, a position each.",
}
"""By schema name; where a schema is missing, its docstring is told."""

FIELDS: Final[dict[str, dict[str, str]]] = {
    "CompletionBody": {
        "model": _MODEL,
        "prompt": "The prompt: one raw text.",
        "account_id": "Account to note the usage under; one that the key may use.",
        "images": "Images that belong to the prompt, for models that take them.",
        "model_parameters": "Sampling parameters.",
        "stream": _STREAM,
    },
    "ModelParameters": {
        "temperature": "Randomness; 0 always takes the likeliest token.",
        "max_tokens": f"{_MAX_TOKENS} When absent: what the context leaves, or 100 for models "
        "that take a raw prompt.",
        "stop_sequences": _STOP,
        "top_p": "The same as `topP`; both with different values are refused.",
        "topP": _TOP_P,
        "top_k": "The same as `topK`; both with different values are refused.",
        "topK": _TOP_K,
        "frequency_penalty": _FREQUENCY,
        "presence_penalty": _PRESENCE,
        "reasoning_effort": _REASONING,
    },
    "ImageRef": {
        "image_url": "Address or data URL. Where the provider wants bytes, the gateway fetches "
        "the address: public ones only, and eight at most.",
        "detail": "How closely the model should look.",
    },
    "StreamOptions": {
        "include_usage": "Send a last chunk with empty `choices` and the usage of the call.",
    },
    "ChatBody": {
        "model": _MODEL,
        "messages": "The conversation so far: objects with `role` and `content`.",
        "audio": "Voice and format of a spoken answer.",
        "frequency_penalty": _FREQUENCY,
        "function_call": "Superseded by `tool_choice`.",
        "functions": "Superseded by `tools`.",
        "logit_bias": _BIAS,
        "logprobs": "Return the log probabilities of the answer's tokens.",
        "max_completion_tokens": f"{_MAX_TOKENS} Reasoning tokens count.",
        "max_tokens": f"{_MAX_TOKENS} Superseded by `max_completion_tokens`.",
        "metadata": "Texts by name that the provider keeps with a stored answer.",
        "modalities": "Kinds of output: `text`, `audio`.",
        "n": "How many alternatives to write.",
        "parallel_tool_calls": "Whether one answer may call several tools.",
        "prediction": "Text that the answer will largely repeat, to write it faster.",
        "presence_penalty": _PRESENCE,
        "reasoning_effort": f"{_REASONING} Usually `low`, `medium` or `high`.",
        "response_format": "Shape of the answer: `text`, `json_object` or `json_schema`.",
        "seed": _SEED,
        "stop": _STOP,
        "store": "Whether the provider may keep the answer.",
        "stream": _STREAM,
        "stream_options": _OPTIONS,
        "temperature": "Randomness; 0 always takes the likeliest token.",
        "tool_choice": "Whether and which tool to call: `none`, `auto`, `required`, or one tool.",
        "tools": "Tools that the model may call.",
        "top_k": _TOP_K,
        "top_logprobs": "How many alternatives to tell at each position; needs `logprobs`.",
        "top_p": _TOP_P,
    },
    "TextBody": {
        "model": _MODEL,
        "prompt": "The prompt, or several; token ids instead of text are handed on.",
        "best_of": "How many texts to write, of which the best `n` are returned.",
        "echo": "Repeat the prompt before the text.",
        "frequency_penalty": _FREQUENCY,
        "logit_bias": _BIAS,
        "logprobs": "How many alternatives to tell at each position.",
        "max_tokens": _MAX_TOKENS,
        "n": "How many texts to write for each prompt.",
        "presence_penalty": _PRESENCE,
        "seed": _SEED,
        "stop": _STOP,
        "stream": _STREAM,
        "stream_options": _OPTIONS,
        "suffix": "What comes after the text, for models that fill in the middle.",
        "temperature": "Randomness; 0 always takes the likeliest token.",
        "top_p": _TOP_P,
        "user": _USER,
    },
    "EmbeddingBody": {
        "model": _MODEL,
        "input": "The text, or several; token ids instead of text are handed on.",
        "dimensions": "How many numbers a vector shall have, where the model lets one choose.",
        "encoding_format": "How vectors are written: `float`, or `base64` of 32-bit floats.",
        "user": _USER,
    },
    "CompletionAnswer": {"token_usage": "Null when the provider did not count."},
    "CompletionChunk": {
        "token_usage": "Null until the last chunk.",
        "completions": "The new text again, as a list of text and log probabilities.",
        "finish_reason": "The same as `completion.finish_reason`.",
        "prompt_tokens": "The same as `token_usage.prompt`.",
        "response_tokens": "The same as `token_usage.completion`.",
    },
    "Completion": {
        "text": "What the model wrote.",
        "finish_reason": "Why it ended: `stop`, `length` or `content_filter`. In a stream, null "
        "until the last chunk.",
        "response_metadata": "Which model and provider answered, the answer's id, and the "
        "upstream's own word for the finish reason.",
    },
    "TokenUsage": {
        "prompt": "Tokens read.",
        "completion": "Tokens written.",
        "total": "Both together.",
    },
    "ChatAnswer": {
        "id": "Id of the answer.",
        "created": "When it was made, in seconds of Unix time.",
        "model": "The model's name, as its server tells it.",
        "choices": "The alternatives, `n` of them.",
    },
    "ChatChunk": {
        "id": "Id of the answer, the same in all its chunks.",
        "created": "When it was made, in seconds of Unix time.",
        "model": "The model's name, as its server tells it.",
        "choices": "What is new in each alternative.",
        "usage": "In the last chunk, if `stream_options.include_usage` asked for it.",
    },
    "TextAnswer": {
        "id": "Id of the answer.",
        "created": "When it was made, in seconds of Unix time.",
        "model": "The model's name, as its server tells it.",
        "choices": "The texts, `n` of them for each prompt.",
    },
    "TextChunk": {
        "id": "Id of the answer, the same in all its chunks.",
        "created": "When it was made, in seconds of Unix time.",
        "model": "The model's name, as its server tells it.",
        "choices": "What is new in each text.",
        "usage": "In the last chunk, if `stream_options.include_usage` asked for it.",
    },
    "EmbeddingAnswer": {
        "data": "A vector for each text.",
        "model": "The model's name, as its server tells it.",
        "usage": "Absent when the provider did not count.",
    },
    "Embedding": {
        "index": "Which text it belongs to, from 0.",
        "embedding": "Numbers, or their bytes in base64.",
    },
    "EmbeddingUsage": {
        "prompt_tokens": "Tokens read.",
        "total_tokens": "The same: nothing is written.",
    },
}
"""By schema and field; every field of a request is here."""

CODES: Final[dict[Code, str]] = {
    "invalid_request": "The request is well-formed, but cannot be done: say, five stop sequences, "
    "or an image for a model that takes none.",
    "validation_error": "A field is missing, of the wrong type or out of range, or the body is no "
    "JSON. `detail` lists every fault with its place.",
    "context_length_exceeded": "The prompt is longer than the model's context.",
    "invalid_api_key": "There is no key, or nobody holds this one.",
    "permission_denied": "The key may not use this account or this model.",
    "model_not_found": "No model has this name, or the target no longer has it.",
    "route_not_found": "No route has this path.",
    "method_not_allowed": "The route takes another method; `allow` names it.",
    "request_too_large": "The body is larger than the operator allows.",
    "rate_limit_exceeded": "Too many requests; wait for `retry-after` seconds.",
    "insufficient_quota": "The budget is used up; a retry cannot help.",
    "upstream_rejected": "The model's server refused the request.",
    "upstream_auth": "The model's server refused the gateway's own key; tell the operator.",
    "upstream_error": "The model's server failed, or broke off its answer.",
    "upstream_timeout": "The model's server took too long.",
    "overloaded": "The model's server has no capacity left, or the gateway is stopping; wait for "
    "`retry-after` seconds.",
    "internal_error": "A fault of the gateway; its log has the cause under the request id.",
}
"""When each error code is answered."""
