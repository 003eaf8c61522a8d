"""Media by their address: got only if that is allowed, in limited time, up to a size. Keeps nothing."""

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from string import punctuation
from urllib.parse import quote, urlsplit

from pydantic import PositiveFloat

from adamms.errors import AdammsError, shortened

CHUNK = 1 << 16  # bytes
WEB = ("http://", "https://")


@dataclass(frozen=True)
class Downloads:
    """How pictures and videos come from the web.

    Args:
        allowed: false: an address is an error.
        seconds: that one may take.
        most_mb: that one may have.
    """

    allowed: bool
    seconds: PositiveFloat
    most_mb: PositiveFloat

    def request(self, url: str, kind: str) -> urllib.request.Request:
        """What gets the address; asks nobody.

        Args:
            kind: what is to be there, for messages: "image" or "video".

        Raises:
            AdammsError: it is none, or downloads are not allowed.
        """
        name = f"{kind} {shortened(url)}"
        if not url.lower().startswith(WEB):
            raise AdammsError(f"{name}: expected a path, or an address that begins with http:// or https://")
        if not self.allowed:
            raise AdammsError(
                f"{name}: nothing is downloaded unless you allow it: data.downloads.allowed=true; "
                f"or give the path of a file"
            )
        try:
            parts = urlsplit(url)
            hosts = (p if p.isascii() else p.encode("idna").decode() for p in parts.netloc.split(":"))
            plain = quote(parts._replace(netloc=":".join(hosts)).geturl(), safe=punctuation)
            return urllib.request.Request(plain, headers={"User-Agent": "adamms", "Accept": f"{kind}/*"})
        except ValueError as error:
            raise AdammsError(f"{name}: is no address ({error})") from error

    def get(self, url: str, kind: str) -> bytes:
        """What is at the address.

        Raises:
            AdammsError: it is not allowed, not there, too slow or too large.
        """
        request, name = self.request(url, kind), f"{kind} {shortened(url)}"
        end, found = time.monotonic() + self.seconds, bytearray()
        try:
            with urllib.request.urlopen(request, timeout=self.seconds) as stream:
                while chunk := stream.read1(CHUNK):
                    found += chunk
                    if len(found) > self.most_mb * 1e6:
                        raise AdammsError(f"{name}: more than {self.most_mb:g} MB (data.downloads.most_mb)")
                    if time.monotonic() > end:
                        raise TimeoutError
                if stream.length:  # read1 does not say that a connection has broken
                    raise AdammsError(f"{name}: the connection ended {stream.length} bytes too early")
        except TimeoutError as error:
            raise self._late(name) from error
        except urllib.error.HTTPError as error:
            raise AdammsError(f"{name}: the server says {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._late(name) from error
            raise AdammsError(f"{name}: cannot be downloaded ({reason})") from error
        return bytes(found)

    def _late(self, name: str) -> AdammsError:
        return AdammsError(f"{name}: took more than {self.seconds:g} s (data.downloads.seconds)")
