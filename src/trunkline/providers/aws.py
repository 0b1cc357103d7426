"""Signs requests for Amazon Bedrock, with the first credentials that are found."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.providers.aws_source import (
    ContainerService,
    InstanceService,
    TokenService,
    find_container_url,
    read_environment,
    read_profile,
)
from trunkline.providers.credential import Issued, Keeper, Source
from trunkline.providers.sigv4 import Credentials, Request, Scope, sign

CONTENT_TYPE: Final = "application/json"
"""What requests must carry as ``content-type``: it is signed with them."""
_READ_AGAIN_S: Final = 300
"""Tools write keys that end into the credentials file and do not say there when."""
_SENDABLE: Final = re.compile(r"[\x21-\x7e]*")


class CredentialChain:
    """The places where AWS credentials may be, in their order; the first that has some counts.

    The key pair of the configuration, the environment, a web identity (``AWS_ROLE_ARN`` with
    ``AWS_WEB_IDENTITY_TOKEN_FILE``), the credentials file, the container's service, the
    instance's service. A place that should have credentials and fails ends the search.

    Args:
        region: whose STS a web identity is shown to.
        variables: the environment.
        home: where ``.aws/credentials`` is.
        keys: the key pair of the configuration, if there is one.
        clock: seconds since 1970.

    Raises:
        ValueError: a variable holds an address that cannot be used.
    """

    def __init__(
        self,
        region: str,
        variables: Mapping[str, str],
        home: Path,
        keys: Credentials | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._variables = variables
        self._home = home
        self._clock = clock
        self._identity: TokenService | None = None
        self._machine: ContainerService | InstanceService | None = None
        if variables.get("AWS_ROLE_ARN") and variables.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            self._identity = TokenService(variables, region)
        if (url := find_container_url(variables)) is not None:
            self._machine = ContainerService(url, variables)
        elif variables.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
            self._machine = InstanceService(variables)

    async def obtain(self) -> Issued[Credentials]:
        """The first credentials found; see ``Source``."""
        issued = await self._find()
        if not all(_SENDABLE.fullmatch(part) for part in msgspec.structs.astuple(issued.value)):
            raise GatewayError("upstream_auth", "the AWS credentials hold what no header may")
        return issued

    async def close(self) -> None:
        """Close the connections that wait."""
        for service in (self._identity, self._machine):
            if service is not None:
                await service.issuer.close()

    async def _find(self) -> Issued[Credentials]:
        if self._keys is not None:
            return Issued(self._keys)
        found = read_environment(self._variables)
        if found is not None:
            return Issued(found)
        if self._identity is not None:
            return await self._identity.obtain()
        found = read_profile(self._variables, self._home)
        if found is not None:
            return Issued(found, self._clock() + _READ_AGAIN_S)
        if self._machine is not None:
            return await self._machine.obtain()
        raise GatewayError(
            "upstream_auth", "neither the configuration nor the environment nor a file has any"
        )


class AwsSigner:
    """Signs POST requests to one host; see ``Signer``.

    Args:
        host: as in the ``host`` header of the requests.
        scope: region and service.
        source: of the credentials.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        host: str,
        scope: Scope,
        source: Source[Credentials],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._headers = (("host", host), ("content-type", CONTENT_TYPE))
        self._scope = scope
        self._clock = clock
        self._keeper = Keeper("AWS", source, clock)

    def sign(self, path: str, body: bytes) -> bytes | None:
        """Date, session token and signature; None while there are no credentials."""
        credentials = self._keeper.peek()
        if credentials is None:
            return None
        path, _, query = path.partition("?")
        request = Request("POST", path, self._headers, body, query)
        return sign(request, credentials, self._scope, datetime.fromtimestamp(self._clock(), UTC))

    async def ready(self) -> None:
        """Wait until there are credentials; see ``Signer``."""
        await self._keeper.ready()

    async def close(self) -> None:
        """Stop renewing."""
        await self._keeper.close()
