"""Whatever a file holds, a reader gives a value or one sentence: no traceback, no hang."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.commands.settings import ContinualRunSettings, DistillSettings, TransferSettings
from holdfast.data.streams import find_stream
from holdfast.errors import HoldfastError
from holdfast.files import read_json, read_sealed, write_sealed
from holdfast.foreign import check_model_folder
from holdfast.generation.manifest import GeneratedImage, read_manifest
from holdfast.json_lines import json_line, read_lines
from holdfast.names import from_names, read_mapping, read_names
from holdfast.prompts.descriptions import read_descriptions
from holdfast.results import KINDS, VERSION, read_result
from holdfast.sealed import SEAL, check_seal
from holdfast.seen import NAME, Seen
from holdfast.task_history import TASKS, read_history
from holdfast.teachers.file import FileTeacher
from holdfast.teachers.ledger import Ledger
from holdfast.teachers.rows import StoredRows
from holdfast.tensor_files import read_tensors
from holdfast.yaml_files import read_yaml

# A file of its own for each example is not needed: each writes it anew.
FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TEXT = st.text(max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
CONTENTS = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"[" * 10**5, b'{"a":' * 10**5, b"\xef\xbb\xbf{}", b"\xff\xfe", b"&a [*a]"])
)


def calm(read, *arguments):
    """Read; what is wrong must be one sentence."""
    try:
        read(*arguments)
    except HoldfastError as error:
        assert "\n" not in str(error).strip()


def described(path):
    return read_descriptions(path, from_names(["a", "b"]))


def as_safetensors(content):
    return len(content).to_bytes(8, "little") + content


READERS = {
    "a.json": (read_json, read_sealed, read_result),
    "b.yaml": (read_yaml, find_stream),
    "c.jsonl": (read_lines, Ledger),
    "names.json": (read_names, read_mapping, described),
    "names.txt": (read_names, described),
    "d.safetensors": (read_tensors, FileTeacher),
}


@pytest.mark.parametrize("name", READERS)
@given(content=CONTENTS)
@FEW
def test_any_bytes(tmp_path, name, content):
    path = tmp_path / name
    for each in (content, as_safetensors(content)) if "safetensors" in name else (content,):
        path.write_bytes(each)
        for read in READERS[name]:
            calm(read, path)


@given(value=st.dictionaries(TEXT, VALUES, max_size=4), kind=st.sampled_from(sorted(KINDS)))
@FEW
def test_results_with_any_fields(tmp_path, value, kind):
    write_sealed(tmp_path / "a.json", value | {"kind": kind, "version": VERSION})
    calm(read_result, tmp_path / "a.json")


FIELDS = st.sampled_from(["request", "images", "texts", "answered", "withdrawn", "rows", "run"])


@given(lines=st.lists(st.dictionaries(FIELDS | TEXT, VALUES, max_size=5), max_size=4))
@FEW
def test_ledgers_with_any_lines(tmp_path, lines):
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(map(json_line, lines)))
    calm(Ledger, tmp_path / "ledger.jsonl")


@given(
    counts=VALUES | st.lists(st.integers(-2, 2), max_size=3),
    fields=st.dictionaries(st.sampled_from(list(GeneratedImage.__dataclass_fields__)), VALUES),
)
@FEW
def test_manifests_with_any_values(tmp_path, counts, fields):
    classes = from_names(["a", "b"])
    (tmp_path / "images").mkdir(exist_ok=True)
    classes.write(tmp_path / "images")
    about = {"counts": counts, "classes": classes.to_json()}
    write_sealed(tmp_path / "generation.json", about)
    whole = dict.fromkeys(GeneratedImage.__dataclass_fields__, "a") | fields
    (tmp_path / "manifest.jsonl").write_bytes(json_line(whole))
    calm(read_manifest, tmp_path)


@given(about=st.dictionaries(st.sampled_from(["identity", "dim", "dtype", "version"]), VALUES))
@FEW
def test_stores_with_any_description(tmp_path, about):
    write_sealed(tmp_path / "about.json", {"identity": "me", "dim": 2, "version": 2} | about)
    (tmp_path / "keys").write_bytes(b"k" * 80)
    (tmp_path / "embeddings.f16").write_bytes(b"r" * 8)
    calm(StoredRows, tmp_path, "me")


@given(value=st.dictionaries(st.sampled_from(["files", "base", "tasks"]), VALUES))
@FEW
def test_model_folders_with_any_lists(tmp_path, value):
    for name in (SEAL, TASKS):
        write_sealed(tmp_path / name, value)
    calm(lambda: check_seal(tmp_path, needed=True))
    calm(read_history, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(value))
    calm(check_model_folder, tmp_path)


@given(value=st.dictionaries(TEXT, VALUES, max_size=4))
@FEW
def test_what_was_seen_is_only_a_help(tmp_path, value):
    write_sealed(tmp_path / NAME, value)
    Seen().recall(tmp_path)


@pytest.mark.parametrize("kind", [TransferSettings, DistillSettings, ContinualRunSettings])
@given(data=st.data())
@FEW
def test_settings_of_any_values(kind, data):
    names = st.sampled_from(sorted(kind.__dataclass_fields__))
    values = data.draw(st.dictionaries(names | TEXT, VALUES, max_size=4))
    required = {"names": ["a"], "data": Path("x"), "stream": "x"}
    known = {k: v for k, v in required.items() if k in kind.__dataclass_fields__}
    calm(kind.from_dict, known | values)
