"""Why a worker could not answer, in the words of api/states.toml."""


class WorkerError(Exception):
    """reason is a code of api/states.toml; detail and hint are for people."""

    def __init__(self, reason: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.reason, self.detail, self.hint = reason, detail, hint

    def to_json(self) -> dict:
        return {"reason": self.reason, "detail": self.detail, "hint": self.hint}
