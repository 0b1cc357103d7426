import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.routing.plan import find_route
from trunkline.routing.table import Columns, Known, Route, Row, Table, Target

RAW = Columns(prompt_mode="raw")
OPENAI, LAB = Row(caller_key=True), Row(serves=("chat",))
LOCAL = Route(
    "local/smol",
    (Target("local", "smollm2", upstream="local/smol"),),
    Columns(images=False),
    Deadlines(),
)
MAPPED = Route("gpt-4o", (Target("lab", "x"), Target("openai", "gpt-4o")), Columns(), Deadlines())
QUICK = Deadlines(first_token_s=3)


def make_table(stand_in: str = "", *more: Route) -> Table:
    return Table(
        {route.name: route for route in (MAPPED, LOCAL, *more)},
        {"openai": OPENAI, "lab": LAB},
        {
            "gpt-4o": Known(replacement="gpt-6", native=("azure", "openai")),
            "falcon-7b": Known(RAW),
            "claude-2": Known(
                status="retired", retired_on="2025-07-21", replacement="claude-sonnet-5-5"
            ),
            "gemini-0": Known(status="retired"),
            "combat-llama": Known(status="unavailable"),
            "gpt-4": Known(native=("openai", "azure"), replacement="gpt-6"),
        },
        stand_in,
        QUICK,
    )


def test_a_configured_name_wins() -> None:
    assert find_route(make_table("local/smol"), "gpt-4o") is MAPPED
    assert find_route(make_table(), "local/smol") is LOCAL
    slashed = msgspec.structs.replace(MAPPED, name="openai/gpt-4o")
    assert find_route(make_table("", slashed), "openai/gpt-4o") is slashed


@pytest.mark.parametrize(
    ("model", "provider", "rest"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("lab/accounts/x/models/y", "lab", "accounts/x/models/y"),
        ("lab//y", "lab", "/y"),
        ("lab/ü", "lab", "ü"),
    ],
)
def test_vendor_and_model_are_split_at_the_first_slash(
    model: str, provider: str, rest: str
) -> None:
    route = find_route(make_table("local/smol"), model)
    row = {"openai": OPENAI, "lab": LAB}[provider]
    assert route == Route(model, (Target(provider, rest, row),), Columns(), QUICK)
    assert route.targets[0].label == model
    assert route.targets[0].key == provider


def test_vendors_model_takes_the_catalogs_columns() -> None:
    assert find_route(make_table(), "lab/falcon-7b").columns == RAW


@pytest.mark.parametrize("model", ["falcon-7b", "cohere/falcon-7b"])
def test_a_catalog_name_without_target_goes_to_the_stand_in(model: str) -> None:
    route = find_route(make_table("local/smol"), model)
    assert route == msgspec.structs.replace(LOCAL, stand_in=True)
    assert route.targets[0].key == "local/smol"
    assert not LOCAL.stand_in


@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "unknown",
        "cohere/command",
        "openai/",
        "/gpt-4o",
        "local/other",
        "GPT-4o",
        "gpt-4o ",
    ],
)
def test_a_name_that_nobody_serves_is_not_found(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        find_route(make_table(), model)
    assert (caught.value.code, caught.value.status) == ("model_not_found", 404)
    assert caught.value.param == "model"
    assert f"Model '{model}' not found." in caught.value.message


def test_names_outside_the_catalog_have_no_stand_in() -> None:
    for model in ("unknown", "cohere/command", "a/b/falcon-7b"):
        with pytest.raises(GatewayError):
            find_route(make_table("local/smol"), model)


def test_no_stand_in_means_none_even_for_a_model_without_name() -> None:
    nameless = msgspec.structs.replace(MAPPED, name="")
    with pytest.raises(GatewayError):
        find_route(make_table("", nameless), "falcon-7b")


def test_what_is_missing_says_how_to_add_it() -> None:
    with pytest.raises(GatewayError) as caught:
        find_route(make_table(), "cohere/command")
    assert '[models."cohere/command"]' in caught.value.message
    assert "[providers.cohere]" in caught.value.message
    with pytest.raises(GatewayError) as caught:
        find_route(make_table(), "plain")
    assert "[providers" not in caught.value.message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            "claude-2",
            (
                "Model 'claude-2' not found: its vendor retired it on 2025-07-21. Use "
                "'claude-sonnet-5-5' instead. To serve it, add [models.\"claude-2\"] targets = "
                '[{ provider = "…", model = "claude-sonnet-5-5" }] to the configuration.'
            ),
        ),
        (
            "bedrock/claude-2",
            (
                "its vendor retired it on 2025-07-21. Use 'claude-sonnet-5-5' instead. To serve "
                'it, add [models."bedrock/claude-2"] targets = [{ provider = "…", model = '
                '"claude-sonnet-5-5" }], or a [providers.bedrock] table to the configuration.'
            ),
        ),
        (
            "gemini-0",
            (
                "Model 'gemini-0' not found: its vendor retired it. To serve it, add "
                '[models."gemini-0"] targets = [{ provider = "…", model = "…" }] to the '
                "configuration."
            ),
        ),
        (
            "combat-llama",
            (
                "Model 'combat-llama' not found: it was never offered to the public. To serve it, "
                'add [models."combat-llama"]'
            ),
        ),
        (
            # It has an heir, but is still there itself, and somebody serves it.
            "gpt-4",
            (
                "Model 'gpt-4' not found. To serve it, add [models.\"gpt-4\"] targets = "
                '[{ provider = "…", model = "…" }], or the table of a provider that has it '
                "(openai, azure), to the configuration."
            ),
        ),
    ],
)
def test_what_became_of_a_name_is_said(model: str, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        find_route(make_table(), model)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert words in caught.value.message


@pytest.mark.parametrize("model", ["claude-2", "combat-llama", "bedrock/claude-2"])
def test_the_stand_in_answers_for_what_is_gone(model: str) -> None:
    assert find_route(make_table("local/smol"), model).stand_in


def test_a_vendor_is_asked_for_what_it_has_retired() -> None:
    # It may know better than the catalog.
    route = find_route(make_table("local/smol"), "lab/claude-2")
    assert route.targets == (Target("lab", "claude-2", LAB),)


@pytest.mark.parametrize("model", ["x" * 10_000, "x" * 10_000 + "/y", "x/" + "y" * 10_000])
def test_the_message_stays_short(model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        find_route(make_table(), model)
    assert len(caught.value.message) < 700


@settings(max_examples=100)
@given(st.text() | st.sampled_from(["openai", "lab", "x"]).flatmap(lambda v: st.text().map(
    lambda rest: f"{v}/{rest}"
)), st.sampled_from(["", "local/smol", "gone"]))  # fmt: skip
def test_every_name_is_routed_or_not_found(model: str, stand_in: str) -> None:
    table = make_table(stand_in)
    try:
        route = find_route(table, model)
    except GatewayError as error:
        found = str(error.code)
    else:
        found = route.targets[0].key
        assert route == find_route(table, model)
    assert found in {"model_not_found", "openai", "lab", "local/smol"}


def test_listed_names_are_answered() -> None:
    assert make_table().list_names() == ["gpt-4o", "local/smol"]
    table = make_table("local/smol")
    more = ["falcon-7b", "claude-2", "gemini-0", "combat-llama", "gpt-4"]
    assert table.list_names() == ["gpt-4o", "local/smol", *more]
    answering = [find_route(table, name).name for name in table.list_names()]
    assert answering == ["gpt-4o"] + ["local/smol"] * 6
