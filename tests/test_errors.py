import typing

import pytest

from trunkline.errors import KINDS, Code, FieldFault, GatewayError, body_too_large

CONTRACT = {
    "invalid_request": (400, "invalid_request_error", False),
    "validation_error": (422, "invalid_request_error", False),
    "context_length_exceeded": (400, "invalid_request_error", False),
    "invalid_api_key": (401, "authentication_error", False),
    "permission_denied": (403, "permission_error", False),
    "model_not_found": (404, "invalid_request_error", False),
    "route_not_found": (404, "invalid_request_error", False),
    "method_not_allowed": (405, "invalid_request_error", False),
    "request_too_large": (413, "invalid_request_error", False),
    "rate_limit_exceeded": (429, "rate_limit_error", True),
    "insufficient_quota": (429, "rate_limit_error", False),
    "upstream_rejected": (400, "invalid_request_error", False),
    "upstream_auth": (502, "server_error", False),
    "upstream_error": (502, "server_error", True),
    "upstream_timeout": (504, "server_error", True),
    "overloaded": (503, "server_error", True),
    "internal_error": (500, "server_error", False),
}


def test_every_code_shows_as_the_contract_says() -> None:
    shown = {code: (kind.status, kind.type, kind.retryable) for code, kind in KINDS.items()}
    assert shown == CONTRACT


def test_the_table_knows_every_code_and_no_other() -> None:
    assert set(KINDS) == set(typing.get_args(Code))


def test_no_status_is_one_that_clients_retry_in_vain() -> None:
    assert {408, 409} & {kind.status for kind in KINDS.values()} == set()


@pytest.mark.parametrize("code", KINDS)
def test_an_error_takes_status_and_kind_from_its_code(code: Code) -> None:
    error = GatewayError(code, "What is wrong.")
    assert (error.status, error.kind) == (KINDS[code].status, KINDS[code])
    assert (error.param, error.faults, error.retry_after_s) == (None, (), None)
    assert str(error) == "What is wrong."


def test_an_error_keeps_what_it_is_given() -> None:
    fault = FieldFault(("body", "a", 0), "is wrong", "value_error")
    error = GatewayError(
        "upstream_rejected", "m", param="a", faults=(fault,), retry_after_s=3, status=413
    )
    assert (error.param, error.faults, error.retry_after_s) == ("a", (fault,), 3)
    assert error.status == 413


def test_a_body_too_large_names_the_limit() -> None:
    error = body_too_large(1000)
    assert (error.code, error.status) == ("request_too_large", 413)
    assert "1000 bytes" in error.message
