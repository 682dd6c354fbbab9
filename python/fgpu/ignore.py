"""Which files of a folder are not uploaded: .fgpuignore, in the language of .gitignore.

A line is a glob: * and ? stay within a name, ** crosses folders, [ab] is one of; a trailing / means folders only; a /
elsewhere ties it to the top; ! takes a file back; # is a comment. The last line that matches decides.
"""
from __future__ import annotations

import re
from typing import Iterable, List, NamedTuple, Pattern

ALWAYS = (".git/",)


class Rule(NamedTuple):
    pattern: Pattern[str]
    keeps: bool
    folders_only: bool


def _bracket(glob: str, start: int) -> str:
    """The [..] at start, or "" when it is not closed: then it is a plain bracket."""
    end = glob.find("]", start + 2)
    return glob[start:end + 1] if end > 0 else ""


def translate(glob: str) -> str:
    """A regular expression for a glob over a path such as a/b/c."""
    out, i = "", 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
        elif glob.startswith("**", i):
            out, i = out + ".*", i + 2
        elif glob[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif glob[i] == "?":
            out, i = out + "[^/]", i + 1
        elif glob[i] == "[" and _bracket(glob, i):
            group = _bracket(glob, i)
            inner = group[1:-1].replace("\\", "\\\\")
            out, i = out + "[" + ("^" + inner[1:] if inner[0] in "!^" else inner) + "]", i + len(group)
        else:
            if glob[i] == "\\" and i + 1 < len(glob):
                i += 1
            out, i = out + re.escape(glob[i]), i + 1
    return out


class Ignore:
    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.rules: List[Rule] = []
        for line in (*ALWAYS, *lines):
            line = line.rstrip("\r\n")
            text = line if line.endswith("\\ ") else line.rstrip()
            if text and not text.startswith("#"):
                self._add(text)

    def _add(self, text: str) -> None:
        keeps = text.startswith("!")
        text = text[1:] if keeps else text
        folders_only = text.endswith("/")
        text = text.rstrip("/")
        if not text:
            return
        anchored = "/" in text
        body = translate(text.lstrip("/"))
        self.rules.append(Rule(re.compile(body if anchored else f"(?:.*/)?{body}", re.S), keeps, folders_only))

    def drops(self, path: str, is_folder: bool) -> bool:
        """Whether path (relative, with /) is left out. Folders above it are the caller's to ask first."""
        for rule in reversed(self.rules):
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                return not rule.keeps
        return False
