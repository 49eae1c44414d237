"""What an answer must look like: the labels or the schema, and whether every target fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from steelyard.core import SPLITS, Json, Output, Split
from steelyard.errors import DataError
from steelyard.tasks.examples import Item
from steelyard.tasks.schema import Schema, in_order, infer_schema, misfit, read_schema
from steelyard.tasks.task_file import TaskSpec
from steelyard.tasks.wording import count, shown

Splits = dict[Split, list[Item]]


def data_files(spec: TaskSpec) -> str:
    """The data files, as a message about all of their rows names them."""
    return ", ".join(str(file) for files in spec.data.files.values() for file in files)


def describe_output(spec: TaskSpec, splits: Splits) -> tuple[Output, Splits, list[str]]:
    """The output, the splits with JSON targets in the schema's order, and notes.

    Raises:
        TaskError: the schema is not one.
        DataError: one label only, or a target that does not fit the schema.
    """
    if spec.output_type == "label":
        output, notes = _labels(spec, splits)
        return output, splits, notes
    if spec.output_type == "text":
        return Output("text"), splits, []
    schema, notes = _schema(spec, splits)
    ordered: Splits = {name: [_ordered(item, schema) for item in splits[name]] for name in SPLITS}
    return Output("json", schema=schema), ordered, notes


def _labels(spec: TaskSpec, splits: Splits) -> tuple[Output, list[str]]:
    seen = {item.example.target for name in ("train", "dev") for item in splits[name]}
    if len(seen) == 1:
        raise DataError(
            f"{data_files(spec)}: every row of train and dev has the label {shown(seen.pop())} "
            f"(column {spec.data.target}). Expected at least two different labels. "
            "Add rows of other labels, or name another target column."
        )
    new = sorted({item.example.target for item in splits["test"]} - seen)
    notes = []
    if new:
        names = ", ".join(new[:5]) + (", …" if len(new) > 5 else "")
        them = "it" if len(new) == 1 else "them"
        notes.append(
            f"{count(len(new), 'label')} only in test, so nothing can learn {them}: {names}. The "
            f"task's labels include {them}, as answers are chosen among all known labels."
        )
    return Output("label", labels=tuple(sorted(seen | set(new)))), notes


def _targets(splits: Splits, names: Sequence[Split]) -> Iterator[tuple[str, Json]]:
    return ((item.where, item.example.target) for name in names for item in splits[name])


def _schema(spec: TaskSpec, splits: Splits) -> tuple[Schema, list[str]]:
    if spec.schema is not None:
        schema = read_schema(spec.schema)
        wrong = misfit(_targets(splits, SPLITS), schema, spec.schema)
        if wrong:
            raise DataError(
                f"{wrong[0]}: the target (column {spec.data.target}) does not fit "
                f"{spec.schema}: {wrong[1]}. Correct the target, or the schema."
            )
        return schema, []
    for where, target in _targets(splits, SPLITS):
        if not isinstance(target, dict):
            raise DataError(
                f"{where}: the target (column {spec.data.target}) is {shown(target)}. Expected a "
                'JSON object. Wrap it, such as {"items": […]}, or set another [output] type.'
            )
    inferred = infer_schema([target for _, target in _targets(splits, ["train"])])
    notes = [f"The JSON schema was inferred from the targets of train: {_summary(inferred)}."]
    wrong = misfit(_targets(splits, ("dev", "test")), inferred)
    if wrong:
        inferred = infer_schema([target for _, target in _targets(splits, SPLITS)])
        notes = [
            f"The JSON schema was inferred from the targets of all splits: {_summary(inferred)}. "
            f"Those of train were not enough: {wrong[0]} does not fit ({wrong[1]})."
        ]
    return inferred, notes


def _summary(schema: Schema) -> str:
    names = list(schema["properties"])
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _ordered(item: Item, schema: Schema) -> Item:
    return replace(
        item, example=replace(item.example, target=in_order(item.example.target, schema))
    )
