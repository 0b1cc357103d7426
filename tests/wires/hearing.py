"""Reads a request in a vendor's dialect into the plain items of ``asked``.

Every field that carries a part of the conversation must be one that is known here: anything
else fails the test that listens.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from wires.asked import Item

Body = dict[str, Any]
Hear = Callable[[Body], list[Item]]


def _prune(item: Item) -> Item:
    return {name: value for name, value in item.items() if value not in ("", None)}


def _split_data_url(url: str) -> Item:
    head, data = url.split(";base64,")
    return {"role": "user", "image": data, "type": head.removeprefix("data:")}


def hear_openai(body: Body) -> list[Item]:
    """OpenAI's chat format."""
    items: list[Item] = []
    for message in body["messages"]:
        items += _hear_message(message)
    for tool in body.get("tools") or ():
        assert tool["type"] == "function"
        function = tool["function"]
        items.append(_offer(function["name"], function["description"], function["parameters"]))
    form = body.get("response_format")
    if form is not None:
        assert form["type"] == "json_schema"
        items.append({"form": form["json_schema"]["schema"]})
    return items


def hear_cohere(body: Body) -> list[Item]:
    """Cohere's chat: OpenAI's words; beside tools the answer's form is one more tool's."""
    items = hear_openai(body)
    last = items[-1]
    if last.get("tool") == "final_answer":
        assert body["tool_choice"] == "REQUIRED"
        items[-1] = {"form": last["schema"]}
    return items


def _offer(name: str, description: str, schema: Any) -> Item:
    return {"tool": name, "description": description, "schema": schema}


def _hear_message(message: Body) -> Iterator[Item]:
    role = message["role"]
    if message.get("reasoning_content"):
        yield {"role": role, "thought": message["reasoning_content"]}
    content = message.get("content") or []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for part in content:
        if part["type"] == "image_url":
            yield _split_data_url(part["image_url"]["url"])
        elif role == "system":
            yield {"system": part["text"]}
        elif role == "tool":
            yield {"role": role, "answers": message["tool_call_id"], "text": part["text"]}
        else:
            yield {"role": role, "text": part["text"]}
    if message.get("tool_plan"):
        yield {"role": role, "plan": message["tool_plan"]}
    for call in message.get("tool_calls") or ():
        assert call["type"] == "function"
        arguments = json.loads(call["function"]["arguments"])
        name = call["function"]["name"]
        yield {"role": role, "call": call["id"], "name": name, "arguments": arguments}


def hear_anthropic(body: Body) -> list[Item]:
    """Anthropic's Messages."""
    items: list[Item] = [{"system": body["system"]}] if "system" in body else []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        items += [_hear_anthropic_block(message["role"], block) for block in blocks]
    for tool in body.get("tools") or ():
        items.append(_offer(tool["name"], tool["description"], tool["input_schema"]))
    form = body.get("output_config", {}).get("format")
    if form is not None:
        assert form["type"] == "json_schema"
        items.append({"form": form["schema"]})
    return items


def _hear_anthropic_block(role: str, block: Body) -> Item:
    match block["type"]:
        case "text":
            return {"role": role, "text": block["text"]}
        case "image":
            source = block["source"]
            assert source["type"] == "base64"
            return {"role": role, "image": source["data"], "type": source["media_type"]}
        case "tool_use":
            call = {"role": role, "call": block["id"], "name": block["name"]}
            return {**call, "arguments": block["input"]}
        case "tool_result":
            return {"role": "tool", "answers": block["tool_use_id"], "text": block["content"]}
        case "thinking":
            return {"role": role, "thought": block["thinking"], "seal": block["signature"]}
        case "redacted_thinking":
            return {"role": role, "hidden": block["data"]}
    raise AssertionError(block)


def hear_gemini(body: Body) -> list[Item]:
    """Google's generateContent."""
    system = body.get("systemInstruction", {"parts": []})
    items: list[Item] = [{"system": part["text"]} for part in system["parts"]]
    for content in body["contents"]:
        role = {"model": "assistant", "user": "user"}[content["role"]]
        items += [_hear_gemini_part(role, part) for part in content["parts"]]
    for tools in body.get("tools") or ():
        for each in tools["functionDeclarations"]:
            items.append(_offer(each["name"], each["description"], each["parametersJsonSchema"]))
    config = body.get("generationConfig", {})
    if "responseJsonSchema" in config:
        assert config["responseMimeType"] == "application/json"
        items.append({"form": config["responseJsonSchema"]})
    return items


def _hear_gemini_part(role: str, part: Body) -> Item:
    seal = part.get("thoughtSignature")
    if "functionCall" in part:
        call = part["functionCall"]
        item = {"role": role, "call": call["id"], "name": call["name"], "arguments": call["args"]}
        return _prune({**item, "seal": seal})
    if "functionResponse" in part:
        told = part["functionResponse"]
        assert told["name"] == "get_weather"
        return {"role": "tool", "answers": told["id"], "text": told["response"]["output"]}
    if "inline_data" in part:
        image = part["inline_data"]
        return {"role": role, "image": image["data"], "type": image["mime_type"]}
    kind = "thought" if part.get("thought") else "text"
    return _prune({"role": role, kind: part["text"], "seal": seal})


def hear_bedrock(body: Body) -> list[Item]:
    """Bedrock's Converse."""
    items: list[Item] = [{"system": block["text"]} for block in body.get("system") or ()]
    for message in body["messages"]:
        items += [_hear_bedrock_block(message["role"], block) for block in message["content"]]
    for tool in body.get("toolConfig", {}).get("tools") or ():
        spec = tool["toolSpec"]
        items.append(_offer(spec["name"], spec["description"], spec["inputSchema"]["json"]))
    form = body.get("outputConfig", {}).get("textFormat")
    if form is not None:
        assert form["type"] == "json_schema"
        items.append({"form": json.loads(form["structure"]["jsonSchema"]["schema"])})
    return items


def _hear_bedrock_block(role: str, block: Body) -> Item:
    ((kind, value),) = block.items()
    match kind:
        case "text":
            return {"role": role, "text": value}
        case "image":
            image = {"role": role, "image": value["source"]["bytes"]}
            return {**image, "type": f"image/{value['format']}"}
        case "toolUse":
            call = {"role": role, "call": value["toolUseId"], "name": value["name"]}
            return {**call, "arguments": value["input"]}
        case "toolResult":
            (told,) = value["content"]
            return {"role": "tool", "answers": value["toolUseId"], "text": told["text"]}
        case "reasoningContent":
            thought = value.get("reasoningText")
            if thought is None:
                return {"role": role, "hidden": value["redactedContent"]}
            return {"role": role, "thought": thought["text"], "seal": thought["signature"]}
    raise AssertionError(block)
