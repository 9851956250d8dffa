"""The canaries: one secret of each kind that a broker holds, each with a beginning that nothing else has."""

from __future__ import annotations

import base64
import random
import string
from dataclasses import dataclass, fields

__all__ = ["MARK", "Canaries"]

# Every canary begins with it, and no answer of an honest broker has it.
MARK = "canary"


@dataclass(frozen=True, slots=True)
class Canaries:
    """One secret of each kind."""

    # Callers' own, sent with X-Registry-Auth.
    password: str
    odd_password: str
    bearer_password: str
    identity_token: str
    registry_token: str
    # The operator's.
    operator_password: str
    operator_config: str
    operator_identity_token: str
    operator_helper: str
    # Issued by token services for any of these, and signed addresses of storage.
    issued_token: str
    signature: str
    # The broker's own.
    admin_token: str
    secret_key: bytes
    webhook_secret: bytes
    rotated_webhook_secret: bytes
    # Of strangers.
    wrong_token: str

    @classmethod
    def of(cls, dice: random.Random) -> Canaries:
        def tail(size: int) -> str:
            return "".join(dice.choices(string.ascii_letters + string.digits, k=size))

        values: dict[str, str | bytes] = {
            each.name: f"{MARK}-{number:02}-{tail(20)}" for number, each in enumerate(fields(cls))
        }
        values["odd_password"] = f'{MARK}-é/+="\\&%20 {tail(16)}'
        for name in ("secret_key", "webhook_secret", "rotated_webhook_secret"):
            values[name] = f"{MARK}-{tail(25)}".encode()
        return cls(**values)  # type: ignore[arg-type]

    def texts(self) -> dict[str, str]:
        """The secrets by kind, as text."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: each if isinstance(each, str) else each.decode() for name, each in found.items()}

    @property
    def key(self) -> str:
        """The value of BROKER_SECRET_KEY."""
        return base64.b64encode(self.secret_key).decode()

    @staticmethod
    def signing(secret: bytes) -> str:
        return f"whsec_{base64.b64encode(secret).decode()}"
