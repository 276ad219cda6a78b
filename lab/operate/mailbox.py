"""What keepalived has sent: the mails in the client's sink."""

import email
import email.policy
from dataclasses import asdict, dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from lab.operate.guests import Guests

# Where the sink's Maildir lies (cloud-init/user-data.yaml.j2).
_MAILDIR = "/var/lib/mail-sink/mail"
_MARK = "@@lab-mail@@"


@dataclass(frozen=True)
class Mail:
    """One mail."""

    date: str
    """As the sender wrote it, or when it arrived."""
    sender: str
    to: str
    subject: str
    text: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


async def read(guests: Guests) -> list[Mail]:
    """All mails, the oldest first.

    Raises:
        UnreachableError: the client does not answer.
    """
    client = guests.inventory.client.name
    # One program for all mails: each start of one costs an emulated client a twentieth of a second.
    script = (
        f"cd {_MAILDIR} 2>/dev/null || exit 0; ls -tr new/* cur/* 2>/dev/null | "
        f"xargs -r awk 'FNR == 1 {{ print \"{_MARK}\" FILENAME }} {{ print }}'"
    )
    return understand((await guests.run(client, script)).stdout)


def understand(text: str) -> list[Mail]:
    """The mails in what the sink's files hold, each after a line with the mark and the file's name.

    That name begins with the second in which it arrived (maildir(5)).
    """
    found = []
    for part in text.split(_MARK)[1:]:
        name, _, raw = part.partition("\n")
        arrived = name.rpartition("/")[2].partition(".")[0]
        message = email.message_from_string(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)  # noqa: S101  what this policy makes
        body = message.get_body(("plain",))
        found.append(
            Mail(
                date=_date(message.get("Date"), arrived),
                sender=str(message.get("From", "")),
                to=str(message.get("To", "")),
                subject=str(message.get("Subject", "")),
                text=str(body.get_content()) if body else str(message.get_payload()),
            )
        )
    return found


def _date(written: str | None, arrived: str) -> str:
    try:
        moment = (
            parsedate_to_datetime(str(written))
            if written
            else datetime.fromtimestamp(int(arrived)).astimezone()
        )
    except ValueError:
        return str(written or arrived)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
