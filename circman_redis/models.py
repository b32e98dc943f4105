"""The model that a twin has unless its user brings another: TwinState and its sections.

Only the timestamp is required, for a twin may hold any part. A part that is not there is None in Python and
left out in JSON: never null, which a merge patch (RFC 7396) would read as 'delete'.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import SkipJsonSchema

LEVELS = ("none", "standard", "strict")
"""How much of a model binds: nothing, what is present, all of it (see ``rules.check``)."""

Name = Annotated[str, Field(min_length=1)]
Celsius = Annotated[float, Field(gt=-273.15)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
NotNegative = Annotated[float, Field(ge=0)]
# Both branches carry the bound, so that a count stays an int and JSON Schema still says it all.
Count = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)]

Absent = SkipJsonSchema[None]
# A factory, not a plain default: the published JSON Schema then names no default of null.
_ABSENT: Any = Field(default_factory=lambda: None)


class _Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, validate_assignment=True)

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is absent, so that a part written as a patch changes no other part."""
        return {
            name: value
            for name, value in handler(self).items()
            if value is not None and (value != {} or name in self.model_fields_set)
        }


class ProductionLine(_Part):
    """The production line.

    Attributes:
        status: what the line does, such as ``running`` or ``idle``; not empty.
        temperature: degrees Celsius, above -273.15.
        energy_consumption: kWh, not negative.
        production_rate: units per hour, not negative.
        efficiency: fraction, 0 to 1.
        defect_rate: fraction of the units made, 0 to 1.
    """

    status: Name | Absent = _ABSENT
    temperature: Celsius | Absent = _ABSENT
    energy_consumption: NotNegative | Absent = _ABSENT
    production_rate: NotNegative | Absent = _ABSENT
    efficiency: Fraction | Absent = _ABSENT
    defect_rate: Fraction | Absent = _ABSENT


class Material(_Part):
    """One material in stock.

    Attributes:
        inventory: units in stock, not negative; required.
        quality: fraction, 0 to 1.
    """

    inventory: Count
    quality: Fraction | Absent = _ABSENT


class Environment(_Part):
    """The air around the line.

    Attributes:
        temperature: degrees Celsius, above -273.15.
        humidity: relative humidity, 0 to 100 %.
    """

    temperature: Celsius | Absent = _ABSENT
    humidity: Percent | Absent = _ABSENT


class TwinState(_Part):
    """The state of a manufacturing twin at one moment.

    Attributes:
        timestamp: when it was so: ISO 8601; UTC where it names no zone.
        system_status: what the system does, such as ``initializing``, ``running`` or ``error``; not empty.
        production_line: degrees C, kWh, units per hour and fractions; see ProductionLine.
        materials: any name -> its inventory (units) and quality (fraction); see Material.
        environment: degrees C and % relative humidity; see Environment.
        quality_metrics: any name -> a number; its unit is its name's.
        resource_metrics: any name -> a number; its unit is its name's.
    """

    timestamp: datetime
    system_status: Name | Absent = _ABSENT
    production_line: ProductionLine = Field(default_factory=ProductionLine)
    materials: dict[str, Material] = Field(default_factory=dict)
    environment: Environment = Field(default_factory=Environment)
    quality_metrics: dict[str, float] = Field(default_factory=dict)
    resource_metrics: dict[str, float] = Field(default_factory=dict)
