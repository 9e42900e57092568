"""Files of torch.export, as data alone.

`torch.export.load` unpickles weights of some types and example inputs, evaluates texts as Python
(expressions of sizes, guards, names of inputs) and looks up functions by dotted names. So a file is
opened here only if it has no pickle, and each text in its graph is a plain name, an expression of
sizes, or an operator of torch that computes. `cleaned_program` writes such a file, without the
parts that a network does not need.
"""

from __future__ import annotations

import ast
import json
import logging
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.export import ExportedProgram

from parafovea.errors import ModelError, describe, shown
from parafovea.models.folder import finite_problem
from parafovea.runtime.optional_packages import older_torch_allowed

GRAPH = "models/model.json"
EXAMPLES = "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/", "data/constants/"
CONFIGS = (f"{WEIGHTS}model_weights_config.json", f"{CONSTANTS}model_constants_config.json")

#: Records beside graph and weights that torch reads.
FURTHER = ("archive_format", "archive_version", "byteorder", ".data/version", "version")

#: Most bytes of the description of a graph.
MOST_TEXT = 256 << 20

#: Functions on sizes that a graph may call besides operators of torch.
SIZES = frozenset(
    {
        f"_operator.{name}"
        for name in (
            "add",
            "and_",
            "eq",
            "floordiv",
            "ge",
            "getitem",
            "gt",
            "le",
            "lt",
            "mod",
            "mul",
            "ne",
            "neg",
            "not_",
            "or_",
            "sub",
            "truediv",
        )
    }
    | {f"math.{name}" for name in ("ceil", "floor", "sqrt", "trunc")}
    | {f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sqrt", "sum")}
)

#: Operators of torch that reach files.
REFUSED = frozenset({"from_file", "save"})

#: Functions in expressions of sizes.
FUNCTIONS = frozenset(
    (
        *("Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing"),
        *("Where", "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "FloorToInt", "CeilToInt"),
        *("RoundToInt", "ToFloat", "Identity", "Eq", "Ne", "And", "Or", "Not", "True", "False"),
        *(
            "floor",
            "ceiling",
            "oo",
            "int_oo",
            "Symbol",
            "Integer",
            "Rational",
            "Float",
            "Add",
            "Mul",
        ),
    )
)

#: Most characters, and most powers, of an expression of sizes.
LONGEST_EXPRESSION, MOST_POWERS = 5000, 3

_OPERATOR = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_SYMBOL = re.compile(r"[suz][a-z]?\d+")
_SIZE_PARTS = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.expr_context),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


class NotDataError(Exception):
    """A part of a file that is not data, with its name."""


def _matching(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_name = _matching(r"([A-Za-z_]\w*)?")
_dotted = _matching(r"[\w.]*")
_plain = _matching(r"[\w .,:>|\-+]*")


def _is_size(text: str) -> bool:
    """Return whether a text is an expression of sizes: numbers, symbols, and known functions."""
    if len(text) > LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    powers = sum(isinstance(node, ast.Pow) for node in nodes)
    return powers <= MOST_POWERS and all(map(_is_size_part, nodes))


def _is_size_part(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name)
    if isinstance(node, ast.keyword):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        # a text is the name of a symbol
        named = isinstance(node.value, str) and _SYMBOL.fullmatch(node.value)
        return isinstance(node.value, int | float) or bool(named)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        # larger powers of powers are numbers without end
        return isinstance(node.right, ast.Constant) and node.right.value in range(10)
    return isinstance(node, _SIZE_PARTS)


def _is_operator(text: str) -> bool:
    found = _OPERATOR.fullmatch(text)
    if found is None:
        return text in SIZES
    packet = getattr(torch.ops.aten, found.group(1), None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or found.group(1) in REFUSED:
        return False
    return isinstance(getattr(packet, found.group(2), None), torch._ops.OpOverload)


def _is_structure(text: str) -> bool:
    """Return whether a text describes nested containers of arrays."""
    try:
        _, root = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict) or part.get("type", "") not in _TYPES:
            return False
        context = part.get("context")
        if context not in (None, "null") and not _is_keys(context):
            return False
        waiting += part.get("children_spec") or []
    return True


def _is_keys(context: Any) -> bool:
    try:
        keys = json.loads(context)
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(keys, list) and all(isinstance(key, str) and _plain(key) for key in keys)


#: What a text must be, by the key that it stands at; all others are refused.
TEXTS: Mapping[str, Callable[[str], bool]] = {
    "name": _name,
    "as_name": _name,
    "forward_arg_names": _name,
    "parameter_name": _dotted,
    "buffer_name": _dotted,
    "tensor_constant_name": _dotted,
    "fqn": _dotted,
    "as_string": _plain,
    "as_strings": _plain,
    "target": _is_operator,
    "as_operator": _is_operator,
    "expr_str": _is_size,
    "in_spec": _is_structure,
    "out_spec": _is_structure,
    "type": _matching("cpu|cuda|mps|xpu|meta"),
    "verifiers": _name,
    "torch_version": _matching(r"[\w.+<=]*"),
    "path_name": _matching(r"(weight|tensor)_\d+"),
}

#: Words for the texts of the keys that are operators.
OPERATOR_KEYS = ("target", "as_operator")


def _checked(value: Any, key: str) -> Any:
    """Return a part of a graph if each text in it is data.

    Places of code, and names of files of the machine, are left out; devices become the CPU.
    """
    if isinstance(value, dict):
        if key in ("device", "as_device"):
            return {"type": "cpu", "index": None}
        return {name: _checked_entry(name, inner, key) for name, inner in value.items()}
    if isinstance(value, list):
        return [_checked(inner, key) for inner in value]
    if isinstance(value, str) and not TEXTS.get(key, _never)(value):
        what = "the operator" if key in OPERATOR_KEYS else f"the text of {key},"
        raise NotDataError(f"{what} {shown(value)!r}")
    return value


def _checked_entry(name: str, value: Any, key: str) -> Any:
    if name == "metadata":
        return {}
    if name == "guards_code":
        return []
    if name in ("custom_obj", "as_custom_obj", "custom_obj_values") and value:
        raise NotDataError(f"an object of a class ({shown(name)})")
    if name == "treespec_namedtuple_fields" and value:
        raise NotDataError("a container of a class")
    valid = _is_size if key == "range_constraints" else _dotted
    if not valid(name):
        raise NotDataError(f"the name {shown(name)!r}")
    return _checked(value, name if not name.isdigit() else key)


def _trains(node: Mapping[str, Any]) -> bool:
    """Return whether a normalization or dropout works as in training."""
    named = {each["name"]: each["arg"] for each in node["inputs"]}
    return any(named.get(name, {}).get("as_bool") is True for name in ("train", "training"))


def _never(text: str) -> bool:
    return False


class Program:
    """The records of a file, by their names in its folder, checked.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        If the file is damaged, has a pickle, or something in its graph is not data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._read(archive)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            RecursionError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"{path} is not a file of torch.export, or is damaged: {shown(describe(error))}"
            ) from error
        except NotDataError as error:
            raise ModelError(
                f"{path} has {error}, which is not one of torch's own that computes, or no data: "
                "it could run code, so the file is refused; export the network with torch's own "
                "operators"
            ) from error

    def _read(self, archive: zipfile.ZipFile) -> None:
        records = {self._inside(info.filename): info for info in archive.infolist()}
        if len(records) != len(archive.infolist()):
            raise ValueError("two records have one name")
        if "serialized_exported_program.json" in {Path(name).name for name in records}:
            raise ModelError(
                f"{self.path} was saved by torch before 2.8, with pickles: load it there, and save "
                "it with a newer torch by torch.export.save"
            )
        if any(name.startswith("data/aotinductor/") for name in records):
            raise ModelError(
                f"{self.path} holds a compiled library, which is code: export the network by "
                "torch.export.save"
            )
        self.records = records
        self.graph = _checked(self._json(archive, GRAPH), "")
        if self.graph["schema_version"]["major"] != 8:
            raise ModelError(
                f"{self.path} has the version {self.graph['schema_version']}, but this torch "
                f"({torch.__version__}) reads 8: export it again with this torch"
            )
        self.configs = {name: self._config(archive, name) for name in CONFIGS}

    def _inside(self, name: str) -> str:
        _, _, inside = name.partition("/")
        if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
            raise ValueError(f"a record has the name {name}")
        return inside

    def _json(self, archive: zipfile.ZipFile, name: str) -> Any:
        info = self.records[name]
        if info.file_size > MOST_TEXT:
            raise ValueError(f"{name} has {info.file_size} bytes")
        return json.loads(archive.read(info))

    def _config(self, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
        """Return which record holds which weight."""
        folder = WEIGHTS if name.startswith(WEIGHTS) else CONSTANTS
        config: dict[str, Any] = self._json(archive, name)
        for weight, facts in config["config"].items():
            if facts["use_pickle"]:
                raise NotDataError(f"the weight {shown(weight)} as a pickle")
            meta = facts["tensor_meta"]
            shape = [side["as_int"] for side in meta["sizes"]]
            record = self.records[folder + facts["path_name"]]
            if record.compress_type != zipfile.ZIP_STORED or math.prod(shape) > record.file_size:
                raise ValueError(
                    f"weight {shown(weight)} has the shape {tuple(shape)}, but {record.file_size} "
                    "bytes are there"
                )
        checked: dict[str, Any] = _checked(config, "")
        return checked

    @property
    def input(self) -> tuple[str, dict[str, Any]]:
        """Name and description of the one array that the network takes.

        Raises
        ------
        ModelError
            If it takes another number of arrays, or is in training.
        """
        module = self.graph["graph_module"]
        signature = module["signature"]
        taken = [
            spec["user_input"]["arg"] for spec in signature["input_specs"] if "user_input" in spec
        ]
        names = [arg["as_tensor"]["name"] for arg in taken if "as_tensor" in arg]
        if len(names) != 1 or len(taken) != 1:
            raise ModelError(
                f"{self.path} takes {len(taken)} inputs, but must take one array, the voxels of "
                "windows: export it with one input"
            )
        mutates = any("user_output" not in spec for spec in signature["output_specs"])
        if mutates or any(map(_trains, module["graph"]["nodes"])):
            raise ModelError(
                f"{self.path} is a network in training, of which results change from run to run: "
                "call eval() of the network before it is exported"
            )
        values: dict[str, Any] = module["graph"]["tensor_values"][names[0]]
        return names[0], values


def cleaned_program(path: Path, output: Path) -> Program:
    """Write a copy of a file of torch.export that holds data alone.

    Parameters
    ----------
    path : Path
        The file.
    output : Path
        File to write: without example inputs, guards, further files and places of code.

    Raises
    ------
    ModelError
        As `Program`.
    """
    program = Program(path)
    texts = {GRAPH: program.graph, **program.configs}
    weights = {
        folder + facts["path_name"]
        for folder, name in zip((WEIGHTS, CONSTANTS), CONFIGS, strict=True)
        for facts in program.configs[name]["config"].values()
    }
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(output, "w") as written:
        for name, info in program.records.items():
            if name in texts:
                written.writestr(f"network/{name}", json.dumps(texts[name]))
            elif name in weights or name in FURTHER:
                written.writestr(f"network/{name}", archive.read(info))
        written.writestr(f"network/{EXAMPLES}", b"")
    return program


def open_program(path: Path) -> ExportedProgram:
    """Return the program of a file that `cleaned_program` wrote, on the CPU.

    Raises
    ------
    ModelError
        If the file is damaged, is not data alone, or has values that are not finite.
    """
    checked = Program(path)
    known = {GRAPH, EXAMPLES, *CONFIGS, *FURTHER}
    weights = (f"{WEIGHTS}weight_", f"{CONSTANTS}tensor_")
    further = [n for n in checked.records if n not in known and not n.startswith(weights)]
    if further or checked.records[EXAMPLES].file_size or checked.graph["guards_code"]:
        raise ModelError(
            f"{path} holds more than a graph and weights: import the network again with parafovea "
            "import-model"
        )
    logging.getLogger("torch.export").setLevel(logging.ERROR)
    try:
        with older_torch_allowed(), path.open("rb") as file:
            program = torch.export.load(file)
    # each kind of damage has an exception of its own
    except Exception as error:
        text = " ".join(describe(error).split())
        raise ModelError(
            f"{path} cannot be opened as a program of torch.export: {shown(text, longest=300)}"
        ) from error
    problem = finite_problem(program.state_dict)
    if problem is not None:
        raise ModelError(f"{path}: {problem}: export another checkpoint of the training")
    return program
