"""Where the server is and which key to use: argument, then environment, then what `fgpu up` wrote, then this machine."""
from __future__ import annotations

import os
from typing import Dict, Optional, Tuple

from .errors import AuthError

DEFAULT_URL = "http://127.0.0.1:8470"
# The key of the examples in every manual: it means "mine", so that a pasted snippet runs unedited.
PLACEHOLDER = "your_api_key"


def credentials_path() -> str:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "fastgpu", "credentials")


def read_credentials(path: Optional[str] = None) -> Dict[str, str]:
    """The `name: value` lines of the credentials file; nothing when there is none."""
    found: Dict[str, str] = {}
    try:
        with open(path or credentials_path(), encoding="utf-8") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if colon and not name.lstrip().startswith("#"):
                    found[name.strip()] = value.strip().strip("\"'")
    except OSError:
        pass
    return found


def resolve(api_key: Optional[str], url: Optional[str]) -> Tuple[str, str]:
    """(key, url) to use."""
    own = "" if api_key == PLACEHOLDER else api_key or ""
    saved = read_credentials()
    key = own or os.environ.get("FGPU_API_KEY", "") or saved.get("key", "")
    if not key:
        raise AuthError("no API key was given and none was found",
                        hint=f"start a server here with `fgpu up`, set FGPU_API_KEY, or write `key: ...` to {credentials_path()}",
                        code="unauthenticated")
    return key, url or os.environ.get("FGPU_URL", "") or saved.get("url", "") or DEFAULT_URL
