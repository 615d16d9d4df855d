"""The broker's own identities in clouds, as they are written in a provider's `credential`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, PlainValidator, StringConstraints, Tag, model_validator

from ..core.catalog import Identity, SecretRef, identity
from ..core.secrets import AWS, CLOUDS
from . import values
from .fields import Model, field
from .problems import listing, refuse

RIGHT = "give {env: NAME}, {file: PATH}, {STORE: PATH}, aws, gcp, azure or none"
_IDENTITY, _SECRET = TAGS = ("[identity]", "[secret]")
_PATH = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_ROLE = r"^arn:[a-z-]+:iam::[0-9]{12}:role/.{1,512}$"
_ACCOUNT = r"^[a-z0-9.-]{1,128}@[a-z0-9.-]{1,128}$"


class AwsIdentityIn(Model):
    """AWS's own credentials, as botocore finds them, or a role that is assumed by them. For providers whose
    requests are signed."""

    profile: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")] | None = field(
        "A profile of AWS's files, before all else. Left out: botocore's whole order.",
        "text",
        "give e.g. production",
        None,
    )
    role_arn: Annotated[str, StringConstraints(pattern=_ROLE)] | None = field(
        "A role that is assumed by them.", "text", "give e.g. arn:aws:iam::123456789012:role/bedrock", None
    )
    external_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@:/-]{2,1224}$")] | None = field(
        "The external id that the role asks for.", "text", "give the one of the role's trust policy", None
    )
    session_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")] | None = field(
        "The name of the session, for AWS's own logs. Left out: `modelbroker`.",
        "text",
        "give 2 to 64 letters, digits and `_+=,.@-`",
        None,
    )

    @model_validator(mode="after")
    def _of_the_role(self) -> Self:
        for name in ("external_id", "session_name"):
            if getattr(self, name) and not self.role_arn:
                refuse(f"has {name}, and no role that is assumed", "add role_arn, or leave it out")
        return self


class GcpIdentityIn(Model):
    """Google's application default credentials, or those of a file. For Vertex."""

    credential_file: _PATH | None = field(
        "A service account's key, or a configuration of workload identity federation.",
        "path",
        "give a path",
        None,
    )
    impersonate: Annotated[str, StringConstraints(pattern=_ACCOUNT)] | None = field(
        "A service account that is acted as.",
        "text",
        "give e.g. models@my-project.iam.gserviceaccount.com",
        None,
    )


class AzureIdentityIn(Model):
    """An identity of Entra ID, as azure-identity finds it. For Azure OpenAI."""

    client_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{1,36}$")] | None = field(
        "Of a managed identity, where the machine has several.", "text", "give its client id", None
    )
    scope: Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+/\.default$")] | None = field(
        "What the token is for, in clouds of their own. "
        "Left out: `https://cognitiveservices.azure.com/.default`.",
        "text",
        "give e.g. https://cognitiveservices.azure.us/.default",
        None,
    )
    ca_file: _PATH | None = field(
        "Certificates of authorities, where a private cloud has its own.", "path", "give a path", None
    )


class IdentityIn(Model):
    """The broker's own identity in one cloud, in the place of a key: docs/secrets.md."""

    aws: AwsIdentityIn | None = field("AWS.", "mapping", "give {role_arn: …}, or just aws", None)
    gcp: GcpIdentityIn | None = field("GCP.", "mapping", "give {credential_file: PATH}, or just gcp", None)
    azure: AzureIdentityIn | None = field("Azure.", "mapping", "give {client_id: …}, or just azure", None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [cloud for cloud in CLOUDS if getattr(self, cloud) is not None]
        if len(given) != 1:
            wrong = f"has {listing(given)}" if given else "is empty"
            refuse(wrong, f"give exactly one of {listing(CLOUDS)}")
        return self


def is_identity(value: Any) -> bool:
    """A mapping that describes an identity: `{aws: NAME}` is a secret in a store of that name."""
    return isinstance(value, dict) and any(
        cloud in value and not isinstance(value[cloud], str) for cloud in CLOUDS
    )


def credential(value: Any) -> SecretRef | None:
    """`aws`, `gcp` or `azure`, or what every credential may be."""
    return identity(value) if isinstance(value, str) and value in CLOUDS else values.credential(value)


Credential = Annotated[
    Annotated[IdentityIn, Tag(_IDENTITY)]
    | Annotated[SecretRef | None, PlainValidator(credential), Tag(_SECRET)],
    Discriminator(lambda value: _IDENTITY if is_identity(value) else _SECRET),
]


def compiled(said: IdentityIn | SecretRef | None, region: str) -> SecretRef | None:
    """`region`: the provider's, where STS is asked if AWS's own settings name none."""
    if isinstance(said, IdentityIn):
        (cloud,) = (cloud for cloud in CLOUDS if getattr(said, cloud) is not None)
        said = identity(cloud, getattr(said, cloud).model_dump(exclude_none=True))
    if not isinstance(said, Identity) or said.kind != AWS:
        return said
    return identity(AWS, {**dict(said.options), "region": region}, said.instead)
