"""A function as a tool: its name, its description, its schema, and what becomes of a model's arguments."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import attrs
import numpy as np
import pytest

from meshapi_rt import ConfigurationError, MissingExtraError
from meshapi_rt.local.rules import anything, map_of
from meshapi_rt.tools import Tool, Toolbox
from meshapi_rt.tools.calls import error_output, output_of
from meshapi_rt.tools.docstrings import read_docstring
from meshapi_rt.tools.schema import BadArguments


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Span(TypedDict):
    start: int
    end: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


@attrs.define
class Address:
    """Where somebody lives."""

    street: str
    number: int = 1


@dataclasses.dataclass
class Tree:
    value: int
    kids: list[Tree] = dataclasses.field(default_factory=list)


POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}},
    "required": ["x"],
}
ADDRESS = {
    "type": "object",
    "description": "Where somebody lives.",
    "properties": {"street": {"type": "string"}, "number": {"type": "integer", "default": 1}},
    "required": ["street"],
}
SPAN = {
    "type": "object",
    "properties": {"start": {"type": "integer"}, "end": {"type": "integer"}},
    "required": ["end", "start"],
}
NULL = {"type": "null"}

# An annotation; its schema; what a model writes; what the function gets.
ANNOTATIONS: dict[str, tuple[Any, Any, Any, Any]] = {
    "str": (str, {"type": "string"}, "x", "x"),
    "int": (int, {"type": "integer"}, 5, 5),
    "int as text": (int, {"type": "integer"}, "5", 5),
    "int as float": (int, {"type": "integer"}, 5.0, 5),
    "float": (float, {"type": "number"}, 1, 1.0),
    "bool": (bool, {"type": "boolean"}, "true", True),
    "enum": (Color, {"enum": ["blue", "red"]}, "red", Color.RED),
    "int enum": (Size, {"enum": [1, 2]}, 2, Size.LARGE),
    "Literal": (Literal["a", "b"], {"enum": ["a", "b"]}, "b", "b"),
    "Optional": (Optional[int], {"anyOf": [{"type": "integer"}, NULL]}, None, None),  # noqa: UP045 - both forms
    "| None": (str | None, {"anyOf": [{"type": "string"}, NULL]}, "x", "x"),
    "Union": (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),  # noqa: UP007
    "list": (list[int], {"type": "array", "items": {"type": "integer"}}, [1, "2"], [1, 2]),
    "plain list": (list, {"type": "array"}, [1, "2"], [1, "2"]),
    "dict": (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}, {"a": 1}, {"a": 1.0}),
    "TypedDict": (Span, SPAN, {"start": 1, "end": 2}, {"start": 1, "end": 2}),
    "dataclass": (Point, POINT, {"x": 1}, Point(1, 2)),
    "attrs": (Address, ADDRESS, {"street": "Main", "number": 3}, Address("Main", 3)),
    "list of dataclasses": (list[Point], {"type": "array", "items": POINT}, [{"x": 1, "y": 1}], [Point(1, 1)]),
    "date": (datetime.date, {"type": "string", "format": "date"}, "2026-01-31", datetime.date(2026, 1, 31)),
    "Any": (Any, {}, {"a": [None]}, {"a": [None]}),
}


def taking(annotation: Any) -> Callable[..., Any]:
    def function(value):  # type: ignore[no-untyped-def]
        return value

    function.__annotations__ = {"value": annotation}
    return function


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations(name: str) -> None:
    """Each has its schema, and arguments become what it says."""
    annotation, schema, written, given = ANNOTATIONS[name]
    tool = Tool.of(taking(annotation))

    whole = {"type": "object", "properties": {"value": schema}, "required": ["value"], "additionalProperties": False}
    assert tool.definition()["parameters"] == whole
    values = tool.convert(json.dumps({"value": written}))
    assert values == {"value": given}
    assert type(values["value"]) is type(given)
    map_of(anything)(tool.definition()["parameters"], "parameters")


def test_a_definition_that_contains_itself_stays_a_definition() -> None:
    """Everything else is written where it is used."""

    def plant(tree: Tree, place: Point) -> None: ...

    parameters = Tool.of(plant).definition()["parameters"]
    assert parameters["properties"] == {"tree": {"$ref": "#/$defs/Tree"}, "place": POINT}
    kids = parameters["$defs"]["Tree"]["properties"]["kids"]
    kids.pop("default", None)  # msgspec tells it since 0.23
    assert kids == {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
    values = Tool.of(plant).convert('{"tree": {"value": 1, "kids": [{"value": 2}]}, "place": {"x": 0}}')
    assert values == {"tree": Tree(1, [Tree(2)]), "place": Point(0)}


def forecast(  # noqa: D417 - one parameter is not described
    city: str,
    days: int = 3,
    *,
    unit: Literal["C", "F"] = "C",
    at: Optional[Point] = None,  # noqa: UP045
) -> str:
    """Tell the weather
    of some days.

    Clouds are counted too.

    Args:
        city (str): The city, with its country
            where that is not clear.
        days: How many.

            From today on.
        *unit: Of the temperatures.

    Returns:
        at: A text.
    """
    return f"{city} {days} {unit} {at}"


def test_a_definition() -> None:
    """Flat, as the realtime API has it; defaults are not required, descriptions come from the docstring."""
    assert Tool.of(forecast).definition() == {
        "type": "function",
        "name": "forecast",
        "description": "Tell the weather of some days.\n\nClouds are counted too.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city, with its country where that is not clear."},
                "days": {"type": "integer", "default": 3, "description": "How many.\n\nFrom today on."},
                "unit": {"enum": ["C", "F"], "default": "C", "description": "Of the temperatures."},
                "at": {"anyOf": [POINT, NULL], "default": None},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }


def test_a_definition_is_a_copy() -> None:
    """Who changes it does not change the tool."""
    tool = Tool.of(forecast)
    tool.definition()["parameters"]["properties"].clear()
    assert "city" in tool.definition()["parameters"]["properties"]


def test_no_parameters() -> None:
    """An empty object; a model that writes nothing at all means that."""

    def ring() -> None: ...

    tool = Tool.of(ring)
    assert tool.definition()["parameters"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool.definition()["description"] == ""
    assert tool.convert("") == tool.convert("{}") == tool.convert(" ") == {}


def test_defaults_are_the_functions_own() -> None:
    """Also those that JSON cannot tell, and mutable ones; what is left out is not passed."""
    marker = object()

    def search(text: str, limit: Any = marker, tags: list[str] = ["a"], when: Color = Color.RED) -> None:  # noqa: B006
        ...

    tool = Tool.of(search)
    properties = tool.definition()["parameters"]["properties"]
    assert "default" not in properties["limit"]
    assert properties["tags"]["default"] == ["a"]
    assert properties["when"]["default"] == "red"
    assert tool.convert('{"text": "x"}') == {"text": "x"}


def test_annotated_describes() -> None:
    """A text in it goes before the docstring."""

    def buy(count: Annotated[int, "How many pieces."]) -> None:
        """Buy.

        Args:
            count: Something else.
        """

    assert Tool.of(buy).definition()["parameters"]["properties"]["count"]["description"] == "How many pieces."


class Shop:
    def __init__(self) -> None:
        self.sold = 0

    def sell(self, pieces: int) -> int:
        """Sell some pieces."""
        self.sold += pieces
        return self.sold

    def __call__(self, name: str) -> str:
        """Call the shop."""
        return name


def test_bound_methods_partials_and_objects() -> None:
    """What is bound is hidden from the model; name and description are those of what is inside."""
    shop = Shop()
    method = Tool.of(shop.sell)
    part = Tool.of(functools.partial(forecast, "Bonn", unit="F"))
    thing = Tool.of(shop)
    cached = Tool.of(functools.lru_cache(forecast))

    assert (method.name, method.description) == ("sell", "Sell some pieces.")
    assert method.function(**method.convert('{"pieces": "2"}')) == shop.sold == 2
    assert part.name == "forecast"
    assert list(part.parameters["properties"]) == ["days", "at"]
    assert part.function(**part.convert("{}")) == "Bonn 3 F None"
    assert (thing.name, thing.description) == ("Shop", "Call the shop.")
    assert thing.function(**thing.convert('{"name": "x"}')) == "x"
    assert cached.definition() == Tool.of(forecast).definition()


BAD: dict[str, tuple[str, str]] = {
    "no JSON": ('{"city": ', "truncated"),
    "no object": ("[1]", "Expected `object`, got `array`"),
    "wrong type": ('{"city": 5}', "Expected `str`, got `int` - at `$.city`"),
    "missing": ("{}", "missing required field `city`"),
    "unknown": ('{"city": "x", "zip": 1}', "unknown field `zip`"),
    "not one of them": ('{"city": "x", "unit": "K"}', "Invalid enum value 'K' - at `$.unit`"),
    "inside": ('{"city": "x", "at": {"x": "a"}}', "at `$.at.x`"),
    "NaN": ('{"city": "x", "days": NaN}', "malformed"),
    "too deep": ('{"city": ' + "[" * 100_000, ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    """The text says what is wrong, and where."""
    written, told = BAD[name]
    with pytest.raises(BadArguments) as caught:
        Tool.of(forecast).convert(written)
    assert told in str(caught.value)


async def coroutine() -> None: ...


def generator() -> Any:
    yield 1


class AsyncCall:
    async def __call__(self) -> None: ...


def positional(a: int, /) -> None: ...


def many(*a: int) -> None: ...


def free(**a: int) -> None: ...


def odd(a: threading.Event) -> None: ...


def mixed(a: Point | Address) -> None: ...


def lost(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


REFUSED: dict[str, tuple[Any, str]] = {
    "coroutine function": (coroutine, "coroutine is a coroutine function, and there is no event loop here"),
    "partial of one": (functools.partial(coroutine), "is a coroutine function"),
    "object with one": (AsyncCall(), "AsyncCall is a coroutine function"),
    "generator function": (generator, "is a generator function"),
    "class": (Point, "not the class Point"),
    "no function": ("forecast", "not str"),
    "positional only": (positional, "takes a: 'int', which a model cannot fill in"),
    "*args": (many, "takes *a"),
    "**kwargs": (free, "takes **a"),
    "no schema": (odd, "the parameter 'a' of the tool 'odd' has an annotation without a JSON schema"),
    "union of classes": (mixed, "the parameter 'a' of the tool 'mixed'"),
    "unknown name": (lost, "name 'Nowhere' is not defined"),
    "lambda": (lambda: None, "not '<lambda>': give name="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """What cannot be a tool is refused where it is registered, with a reason."""
    function, told = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        Tool.of(function)
    assert told in str(caught.value).replace("a: int", "a: 'int'")


@pytest.mark.parametrize("name", ["", "a b", "größe", "x" * 65, "a.b", 5])
def test_names(name: Any) -> None:
    """1 to 64 letters, digits, underscores or dashes; the function's own where none is given."""
    if name != "":
        with pytest.raises(ConfigurationError, match="1 to 64 letters"):
            Tool.of(forecast, name=name)
    assert Tool.of(forecast, name="get-Weather_2").name == "get-Weather_2"


def test_options_are_checked() -> None:
    """A timeout that is none, and an approval that cannot be called."""
    with pytest.raises(ConfigurationError, match="timeout"):
        Tool.of(forecast, timeout=-1)
    with pytest.raises(ConfigurationError, match="approve must be a function"):
        Tool.of(forecast, approve=True)  # type: ignore[arg-type]
    assert Tool.of(forecast, timeout=None).timeout is None


# -- without msgspec ---

OWN = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_without_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool takes an explicit schema; one without says what to install."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(MissingExtraError, match=r"the tool 'forecast' .* pip install 'meshapi-rt\[tools\]'"):
        Tool.of(forecast)

    tool = Tool.of(forecast, parameters=OWN)
    assert tool.definition()["parameters"] == OWN
    assert tool.definition()["description"].startswith("Tell the weather of some days.")
    assert tool.convert('{"city": "Bonn", "days": "2"}') == {"city": "Bonn", "days": "2"}


def test_an_explicit_schema_reaches_no_positional_parameters() -> None:
    """They are refused as they are without one."""
    with pytest.raises(ConfigurationError, match="which a model cannot fill in"):
        Tool.of([].append, parameters=OWN)


def test_an_explicit_schema_passes_json_on() -> None:
    """With and without msgspec; the function's own signature is still kept."""

    def anything_goes(**values: object) -> object:
        return values

    assert Tool.of(anything_goes, parameters=OWN).convert('{"b": 1.5}') == {"b": 1.5}
    tool = Tool.of(forecast, parameters=OWN)
    for written, told in (
        ("{", "no JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "missing a required argument: 'city'"),
        ('{"city": "x", "zip": 1}', "unexpected keyword argument 'zip'"),
    ):
        with pytest.raises(BadArguments) as caught:
            tool.convert(written)
        assert told in str(caught.value)


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, [], {"type": "object", "x": {1, 2}}, {"type": float("nan")}])
def test_an_explicit_schema_is_one_of_an_object(schema: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigurationError, match="the parameters of the tool 'forecast'"):
        Tool.of(forecast, parameters=schema)


# -- docstrings ---

DOCSTRINGS: dict[str, tuple[str | None, str, dict[str, str]]] = {
    "none": (None, "", {}),
    "one line": ("Do it.", "Do it.", {}),
    "numpy": (
        """Add.

        Parameters
        ----------
        a, b : int
            The numbers,
            both.
        c
            Another.

        Returns
        -------
        int
            The sum.
        """,
        "Add.",
        {"a": "The numbers, both.", "b": "The numbers, both.", "c": "Another."},
    ),
    "Sphinx": (
        """Add.

        :param int a: The first
            number.
        :param b: The other.
        :type b: int
        :returns: The sum.
        """,
        "Add.",
        {"a": "The first number.", "b": "The other."},
    ),
    "Google, other sections": (
        """Add.

        Note:
            Not for floats.

        Arguments:
            a: One: the first.
            b (int, optional): Two.

        Raises:
            ValueError: a: none.
        """,
        "Add.",
        {"a": "One: the first.", "b": "Two."},
    ),
    "only a section": ("\nArgs:\n    a: One.", "", {"a": "One."}),
}


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_docstrings(name: str) -> None:
    """What stands before the first section, and the parameters of whatever manner."""
    text, summary, parameters = DOCSTRINGS[name]
    read = read_docstring(text)
    assert (read.summary, read.parameters) == (summary, parameters)


# -- results ---

RESULTS: dict[str, tuple[object, str]] = {
    "text": ("ä 'x'", "ä 'x'"),
    "empty text": ("", ""),
    "None": (None, "null"),
    "number": (1.5, "1.5"),
    "nested": ({"a": [1, True, None, "ä"]}, '{"a": [1, true, null, "ä"]}'),
    "tuple": ((1, 2), "[1, 2]"),
    "dataclass": (Point(1), '{"x": 1, "y": 2}'),
    "attrs in a list": ([Address("Main")], '[{"street": "Main", "number": 1}]'),
    "enum": (Color.RED, "red"),
    "enum inside": ([Color.RED, Size.LARGE], '["red", 2]'),
    "date": ([datetime.date(2026, 1, 31)], '["2026-01-31"]'),
    "array": (np.array([1, 2], np.int16), "[1, 2]"),
    "numpy number": (np.int64(3), "3"),
    "set": ({1}, "[1]"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    """A text stays one, anything else becomes JSON."""
    result, told = RESULTS[name]
    assert output_of(result) == told


def circular() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "result",
    [object(), b"x", float("nan"), np.array([np.inf]), circular(), {"a": threading}, "\ud800", {("a",): 1}],
    ids=lambda result: type(result).__name__,
)
def test_results_without_json_form(result: object) -> None:
    """They are refused with a reason."""
    with pytest.raises(ValueError, match=r"."):
        output_of(result)


def test_errors_are_short() -> None:
    """And always valid on the wire."""
    told = json.loads(error_output("\ud800" + "x" * 10_000))["error"]
    assert told.startswith("?x")
    assert len(told) == 501


# -- the box ---


def test_a_toolbox() -> None:
    """Names are unique; what is refused changes nothing."""
    box = Toolbox([forecast])
    with pytest.raises(ConfigurationError, match="already a tool named 'forecast'"):
        box.add(Tool.of(forecast, name="other"), forecast)
    assert [tool.name for tool in box] == ["forecast"]
    box.add(Tool.of(forecast, name="other"))
    box.remove("forecast")
    assert "other" in box
    assert "forecast" not in box
    assert len(box) == len(box.definitions()) == 1
    assert box.get("forecast") is None
    with pytest.raises(KeyError):
        box.remove("forecast")


def test_a_toolbox_takes_a_change_back_that_could_not_be_told() -> None:
    """Who is told of changes may fail."""
    box = Toolbox(changed=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        box.add(forecast)
    assert not len(box)


def test_a_toolbox_is_shared_by_threads() -> None:
    """Nothing is lost, and every telling is of a newer state."""
    told: list[int] = []
    box = Toolbox(changed=lambda: told.append(len(box)))
    adders = [
        threading.Thread(target=lambda n=n: box.add(Tool.of(forecast, name=f"t{n}", parameters=OWN))) for n in range(32)
    ]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(10)
    assert told == list(range(1, 33))
