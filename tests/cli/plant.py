"""Models of the tests, to be published by name."""

from pydantic import BaseModel, field_validator


class Plant(BaseModel):
    """Rules that the server can check."""

    name: str
    level: float = 0


class Checked(BaseModel):
    """A rule that only Python can check."""

    level: float = 0

    @field_validator("level")
    @classmethod
    def _is_whole(cls, level: float) -> float:
        if level % 1:
            raise ValueError("not a whole number")
        return level


not_a_model = 3
