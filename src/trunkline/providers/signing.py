"""Chooses who signs a provider's requests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from trunkline.providers.aws import AwsSigner, CredentialChain
from trunkline.providers.credential import Signer
from trunkline.providers.google import GoogleSigner, find_source
from trunkline.providers.origin import parse_base_url
from trunkline.providers.provider import Auth
from trunkline.providers.sigv4 import Credentials, Scope

_DEFAULT_REGION: Final = "us-east-1"
_SERVICE: Final = "bedrock"


class SigningOptions(msgspec.Struct, frozen=True):
    """What a configuration says of a provider's credentials, "" where it says nothing.

    Without a key pair or a key file they are looked for where the vendor's own tools look.
    """

    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    service_account: str = ""


def build_signer(
    auth: Auth, base_url: str, options: SigningOptions, environ: Mapping[str, str]
) -> Signer | None:
    """The signer of a scheme; None for the schemes whose key stands in a header.

    Raises:
        ValueError: a key file or an address cannot be used, or an extra is not installed.
    """
    if auth == "google-oauth":
        return GoogleSigner(find_source(options.service_account, environ))
    if auth != "aws-sigv4":
        return None
    region = options.region or environ.get("AWS_REGION") or _DEFAULT_REGION
    keys = None
    if options.access_key or options.secret_key:
        keys = Credentials(options.access_key, options.secret_key, options.session_token)
    chain = CredentialChain(region, environ, Path.home(), keys)
    origin, _ = parse_base_url(base_url)
    return AwsSigner(origin.authority, Scope(region, _SERVICE), chain)
