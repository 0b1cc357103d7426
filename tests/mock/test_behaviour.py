from trunkline.mock import Asked, Behaviour, Fault, Plan, always, by_model, first, honest, share

CUT = Fault("cut")


def ask(number: int = 1, model: str = "m") -> Asked:
    return Asked(
        number=number, dialect="openai", operation="chat", path="/v1/chat/completions", model=model
    )


def hit(plan: Plan, count: int) -> list[int]:
    return [number for number in range(1, count + 1) if plan(ask(number)).fault]


def test_honest_has_no_fault() -> None:
    assert honest()(ask()) == Behaviour()


def test_always_and_first() -> None:
    assert hit(always(CUT), 3) == [1, 2, 3]
    assert hit(always(None), 3) == []
    assert hit(first(2, CUT), 5) == [1, 2]


def test_a_share_is_the_same_for_the_same_seed() -> None:
    chosen = hit(share(0.3, CUT, seed=1), 1000)
    assert chosen == hit(share(0.3, CUT, seed=1), 1000)
    assert chosen != hit(share(0.3, CUT, seed=2), 1000)
    assert 250 < len(chosen) < 350
    assert hit(share(0, CUT), 50) == []
    assert len(hit(share(1, CUT), 50)) == 50


def test_by_model_takes_plans_behaviours_and_faults() -> None:
    plan = by_model({"a": CUT, "b": Behaviour(text="hi"), "c": first(1, CUT)}, always(CUT))
    assert plan(ask(model="a")).fault == CUT
    assert plan(ask(model="b")).text == "hi"
    assert [plan(ask(number, "c")).fault for number in (1, 2)] == [CUT, None]
    assert plan(ask(model="other")).fault == CUT
    assert by_model({})(ask()).fault is None


def test_a_fault_at_connect_is_of_connections_not_requests() -> None:
    plan = first(1, Fault("reset", at="connect"))
    assert plan(ask()).fault is None
    assert [bool(plan.on_accept(number)) for number in (1, 2)] == [True, False]
    assert always(CUT).on_accept(1) is None
