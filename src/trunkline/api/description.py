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

_LIMITS: Final = "Requests and tokens a minute, and calls at once."
_BUDGETS: Final = "How much may be used in a period; only one of the same unit and period."
_LEAVING: Final = (
    "When a client leaves: `cancel` the call at once and count what came, or `drain` it within a "
    "bound to learn the provider's own count."
)
_OVER: Final = (
    "A call whose worst case does not fit into a budget: `refuse` it, or `clamp` its output to "
    "what is left."
)
_SHARE: Final = (
    "Where calls wait for an upstream: how many of this account's are served for each of an "
    "account with a share of 1, from 1 to 1000."
)
_PRIORITY: Final = (
    "Where calls wait for an upstream: `high` goes before `normal`, and that before `low`; who "
    "has waited long counts as higher."
)
_PATTERNS: Final = "Names of models that it may use; `*` and `?` match any text. Null for all."
_FURTHER: Final = "Accounts that it may act for beside its own."
_EXPIRY: Final = "When it ends, with its offset from UTC. Null for never."
_ROWS: Final = {
    "has_more": "Whether rows follow.",
    "next": "Id to send as `after` for the next page; null on the last.",
}
_LIMIT_TEXTS: Final = {
    "rpm": "Requests a minute.",
    "tpm": "Tokens a minute, input and output together.",
    "concurrent": "Calls at the same time.",
}
_BUDGET_TEXTS: Final = {
    "period": "`day` and `month` begin at midnight UTC; `total` never ends.",
    "usd": 'Dollars as a decimal text, exact: `"12.50"`, six digits behind the point at most.',
    "tokens": "Tokens, input and output together.",
}

ADMIN_FIELDS: Final[dict[str, dict[str, str]]] = {
    "LimitsForm": _LIMIT_TEXTS,
    "LimitsView": _LIMIT_TEXTS,
    "BudgetForm": _BUDGET_TEXTS,
    "BudgetView": _BUDGET_TEXTS,
    "AccountCreation": {
        "id": "Any printable text without blanks at its ends; never changes.",
        "name": "Who it is, for people.",
        "limits": _LIMITS,
        "budgets": _BUDGETS,
        "leaving": _LEAVING,
        "over_budget": _OVER,
        "share": _SHARE,
        "priority": _PRIORITY,
    },
    "AccountChange": {
        "name": "Who it is, for people.",
        "status": "Keys of a `suspended` account are refused.",
        "limits": f"{_LIMITS} Those that are absent stay; null removes all.",
        "budgets": f"{_BUDGETS} Replaces all that there are.",
        "leaving": _LEAVING,
        "over_budget": _OVER,
        "share": _SHARE,
        "priority": _PRIORITY,
    },
    "KeyCreation": {
        "account_id": "The account that it belongs to; never changes.",
        "name": "What it is for, for people.",
        "role": "An `admin` may act for every account and use the admin API; never changes.",
        "models": _PATTERNS,
        "accounts": _FURTHER,
        "expires_at": _EXPIRY,
        "limits": _LIMITS,
        "budgets": _BUDGETS,
    },
    "KeyEdit": {
        "name": "What it is for, for people.",
        "models": _PATTERNS,
        "accounts": f"{_FURTHER} Replaces all that there are.",
        "expires_at": _EXPIRY,
        "limits": f"{_LIMITS} Those that are absent stay; null removes all.",
        "budgets": f"{_BUDGETS} Replaces all that there are.",
    },
    "Rotation": {
        "overlap_s": "How many seconds the old key goes on beside the new one; 0 ends it at once.",
    },
    "AccountView": {
        "leaving": _LEAVING,
        "over_budget": _OVER,
        "share": _SHARE,
        "priority": _PRIORITY,
    },
    "KeyView": {
        "prefix": "The first characters of its text.",
        "accounts": _FURTHER,
        "state": "Whether it is refused, and why; its account may be suspended besides.",
        "last_used_at": "Exact to about a minute.",
    },
    "CreatedKey": {"key": "Its text; nothing can show it again."},
    "AuditView": {
        "actor": "Id of the admin key that did it, `cli:` and a login name, or `environment`.",
        "before": "The whole account or key before it as it is stored, times in microseconds and "
        "amounts in micro-dollars or tokens; null when it was created.",
        "after": "The same after it.",
    },
    "AccountPage": _ROWS,
    "KeyPage": _ROWS,
    "AuditPage": _ROWS,
    "TargetView": {
        "target": "`provider/model`.",
        "circuit": "Closed: it is asked. Open: it is left alone. Half-open: one call probes it.",
        "wait_s": "Seconds until a probe may go.",
        "opened": "How often the circuit has opened.",
        "latency_ms": "Time to the first content, a moving average; null before any.",
        "aside_s": "Seconds for which it goes last, because it asked for that or refused the key.",
        "outstanding": "Attempts under way.",
        "attempts": "Attempts that have ended, by outcome: complete, left, or the error's code.",
    },
    "TargetPage": {"data": "The targets."},
}
"""Fields of the admin API, by schema."""

ADMIN_PARAMETERS: Final[dict[str, str]] = {
    "account_id": "Id of an account. In a path it is percent-encoded: `a/b` is `a%2Fb`.",
    "key_id": "Id of a key.",
    "limit": "How many rows at most.",
    "after": "Begin after the row with this id: the `next` of the page before.",
    "kind": "Only changes of accounts, or of keys.",
    "subject_id": "Only changes of this account or key.",
}
"""Parameters of the admin API, by name."""

USAGE_PARAMETERS: Final[dict[str, str]] = {
    "since": "First day (UTC): `2026-01-31`, `2026-01`, `today`, `yesterday`, or `7d` or `2w` for "
    "that long ago. Without it, the first of the month of `until`.",
    "until": "Last day, likewise. Without it, today.",
    "by": "What the sums are split by, with commas between: `day`, `hour`, `account`, `key`, "
    "`model`, `target`, `status`. Without it, `model`.",
    "account": "Only calls of this account.",
    "key": "Only calls with the key of this id.",
    "model": "Only calls for this public name.",
    "target": "Only calls that this `provider/model` answered.",
    "status": "Only calls that ended so: `complete`, `failed`, `left`, `refused`, `lost`.",
    "format": "`json`, or `csv`: the rows without their total.",
}
"""Parameters of the usage report, by name."""

FIELDS: Final[dict[str, dict[str, str]]] = {
    **ADMIN_FIELDS,
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
    "JSON; in the admin API also a field that does not exist. `detail` lists every fault with its "
    "place.",
    "context_length_exceeded": "The prompt is longer than the model's context.",
    "invalid_api_key": "There is no key, or nobody holds this one.",
    "permission_denied": "The key may not use this account or this model, or is no admin's.",
    "model_not_found": "No model has this name, or the target no longer has it.",
    "route_not_found": "No route has this path, or nothing has the id in it.",
    "method_not_allowed": "The route takes another method; `allow` names it.",
    "request_too_large": "The body is larger than the operator allows.",
    "rate_limit_exceeded": "Too many requests; wait for `retry-after` seconds.",
    "insufficient_quota": "The budget is used up; a retry cannot help.",
    "upstream_rejected": "The model's server refused the request.",
    "upstream_auth": "The model's server refused the gateway's own key; tell the operator.",
    "upstream_error": "The model's server failed, or broke off its answer.",
    "upstream_timeout": "The model's server took too long.",
    "overloaded": "The model's server has no capacity left, the gateway is stopping, or its "
    "database does not answer; wait for `retry-after` seconds.",
    "internal_error": "A fault of the gateway; its log has the cause under the request id.",
}
"""When each error code is answered."""
