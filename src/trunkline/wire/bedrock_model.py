"""What a model on Amazon Bedrock takes beyond Converse's common fields, read from its id.

Converse hands ``additionalModelRequestFields`` to the model as they are, and a model refuses
what it does not know. Amazon Bedrock User Guide, "Inference request parameters" and "Get
validated JSON results from models"; Amazon Nova User Guide, "Request and response schema" and
"Extended thinking"; the models and fields that langchain-aws 1.9.1 names, which AWS maintains
(all read 2026-11-22). An id that tells no model, such as that of an application inference
profile, has none of these fields.
"""

from typing import Any, Final

import msgspec

from trunkline.chat import Conversation, Json
from trunkline.errors import GatewayError
from trunkline.wire.anthropic_model import ClaudeModel, read_model
from trunkline.wire.anthropic_thinking import settle_sampling, write_thinking
from trunkline.wire.change import Changes
from trunkline.wire.parameter import put_field

ADDED: Final = "additionalModelRequestFields"
_SCALE: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SAMPLING: Final = ("temperature", "top_p", "top_k", "max_tokens")
_ENDLESS: Final = 1 << 40


class BedrockModel(msgspec.Struct, frozen=True):
    """One family of models; ``id`` is how their ids begin behind a region's prefix.

    Args:
        top_k: where it takes ``top_k``, below ``additionalModelRequestFields``; "" for nowhere.
        effort: where it takes a reasoning effort, likewise.
        efforts: the words that it knows for it.
        beside: further fields that an effort needs.
        lone: an effort that it takes only without a limit and without sampling parameters.
        schemas: its answers, and tools' arguments, can be held to a JSON schema.
        forces: it can be made to call a tool.
        unsigned: it takes back thoughts that nobody signed.
        claude: what is known of it as a Claude.
    """

    id: str = ""
    top_k: str = ""
    effort: str = ""
    efforts: tuple[str, ...] = ()
    beside: tuple[tuple[str, Any], ...] = ()
    lone: str = ""
    schemas: bool = True
    forces: bool = False
    unsigned: bool = False
    claude: ClaudeModel = ClaudeModel()


_FAMILIES: Final = (
    BedrockModel("anthropic.", top_k="top_k"),
    BedrockModel(
        "amazon.nova-2",
        top_k="inferenceConfig.topK",
        effort="reasoningConfig.maxReasoningEffort",
        efforts=("low", "medium", "high"),
        beside=(("reasoningConfig.type", "enabled"),),
        lone="high",
        schemas=False,
        forces=True,
        unsigned=True,
    ),
    BedrockModel("amazon.nova", top_k="inferenceConfig.topK", schemas=False, forces=True),
    BedrockModel("amazon.", schemas=False),
    BedrockModel(
        "openai.gpt-oss",
        effort="reasoning_effort",
        efforts=("low", "medium", "high"),
        unsigned=True,
    ),
    BedrockModel(
        "openai.gpt-",
        effort="reasoning.effort",
        efforts=("none", "low", "medium", "high", "xhigh", "max"),
        forces=True,
    ),
    BedrockModel(
        "moonshot.", effort="reasoning_effort", efforts=("low", "high", "max"), unsigned=True
    ),
    BedrockModel(
        "moonshotai.", effort="reasoning_effort", efforts=("low", "high", "max"), unsigned=True
    ),
    BedrockModel(
        "zai.glm-5.3",
        effort="reasoning_effort",
        efforts=("low", "medium", "high", "xhigh", "max"),
        forces=True,
    ),
    BedrockModel("zai.glm-", forces=True),
    BedrockModel("deepseek.v3", forces=True, unsigned=True),
    BedrockModel("deepseek.r1", schemas=False),
    BedrockModel("mistral.mistral-large-3", forces=True),
    BedrockModel("mistral.mistral-large", schemas=False, forces=True),
    BedrockModel("mistral.mistral-", schemas=False),
    BedrockModel("mistral.mixtral-", schemas=False),
    BedrockModel("mistral.pixtral-", schemas=False),
    BedrockModel("minimax.", unsigned=True),
    BedrockModel("xai.grok-", forces=True),
    BedrockModel("ai21.", schemas=False),
    BedrockModel("cohere.", schemas=False),
    BedrockModel("meta.", schemas=False),
    BedrockModel("writer.", schemas=False),
)


def find_model(model_id: str) -> BedrockModel:
    """The family of an id, an inference profile's or an ARN; the plainest where it has none."""
    name = "." + model_id.rpartition("/")[2].lower()
    for family in _FAMILIES:
        if f".{family.id}" in name:
            break
    else:
        return BedrockModel()
    claude = read_model(name)
    if not claude.is_claude:
        return family
    return msgspec.structs.replace(
        family, schemas=claude.holds_schemas, forces=claude.forces_tools, claude=claude
    )


def write_model_fields(
    chat: Conversation, model: BedrockModel, changes: Changes, *, forced: bool
) -> tuple[Json, Json]:
    """The model's own fields, and the client's parameters as far as they go with them.

    Args:
        chat: the request.
        model: its target.
        changes: told of what differs.
        forced: the model is made to call a tool.

    Returns:
        What ``additionalModelRequestFields`` holds, and the parameters.

    Raises:
        GatewayError: ``invalid_request`` for an unknown effort, or where ``changes`` is strict.
    """
    parameters = dict(chat.parameters)
    if model.claude.is_claude:
        fields = _think(chat, model.claude, parameters, changes, forced=forced)
    else:
        fields = _write_effort(model, parameters, changes)
    top_k = parameters.pop("top_k", None)
    if top_k is not None and model.top_k:
        put_field(fields, model.top_k, top_k)
        changes.rename("top_k", f"{ADDED}.{model.top_k}")
    elif top_k is not None:
        changes.drop("top_k")
    return fields, parameters


def _think(
    chat: Conversation, claude: ClaudeModel, parameters: Json, changes: Changes, *, forced: bool
) -> Json:
    """A Claude's thinking and sampling, by the rules of its own API."""
    fields: Json = {
        name: parameters[name] for name in _SAMPLING if type(parameters.get(name)) in (int, float)
    }
    given = tuple(fields)
    # Converse needs no limit, where the Messages API does.
    fields.setdefault("max_tokens", _ENDLESS)
    write_thinking(chat, claude, fields, changes, forced=forced)
    settle_sampling(claude, fields, changes)
    for name in given:
        if name in fields:
            parameters[name] = fields[name]
        else:
            del parameters[name]
    return {name: value for name, value in fields.items() if name not in _SAMPLING}


def _write_effort(model: BedrockModel, parameters: Json, changes: Changes) -> Json:
    effort = parameters.get("reasoning_effort")
    if effort is None:
        return {}
    if effort not in _SCALE:
        raise GatewayError(
            "invalid_request",
            f"reasoning_effort: expected one of {', '.join(_SCALE)}.",
            param="reasoning_effort",
        )
    if not model.effort or (effort == "none" and "none" not in model.efforts):
        changes.drop("reasoning_effort")
        return {}
    known = _find_nearest(effort, model.efforts)
    if known == model.lone and any(name in parameters for name in _SAMPLING):
        known = model.efforts[model.efforts.index(known) - 1]
    if known != effort:
        changes.clamp("reasoning_effort", known)
    changes.rename("reasoning_effort", f"{ADDED}.{model.effort}")
    fields: Json = {}
    for path, value in (*model.beside, (model.effort, known)):
        put_field(fields, path, value)
    return fields


def _find_nearest(effort: str, efforts: tuple[str, ...]) -> str:
    """The same word, else the next weaker one that the model knows, else its weakest."""
    if effort in efforts:
        return effort
    place = _SCALE.index(effort)
    thinking = [each for each in efforts if each != "none"]
    weaker = [each for each in thinking if _SCALE.index(each) < place]
    return weaker[-1] if weaker else thinking[0]
