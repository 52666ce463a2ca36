"""Every fault of a manifest is told with file, row and column, word for word."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.cohort.manifest import read_cohort, unknown_columns
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import Box

NODULES = [
    {
        "patient_id": "P1",
        "nodule_id": "N1",
        "cohort": "main",
        "lnm_central": "1",
        "lnm_lateral": "0",
        "n_malignant_nodules": "1",
        "margin": "smooth",
    },
    {
        "patient_id": "P1",
        "nodule_id": "N2",
        "cohort": "main",
        "lnm_central": "0",
        "lnm_lateral": "",
        "n_malignant_nodules": "",
        "margin": "",
    },
    {
        "patient_id": "E1",
        "nodule_id": "N3",
        "cohort": "external",
        "lnm_central": "",
        "lnm_lateral": "1",
        "n_malignant_nodules": "2",
        "margin": "non-smooth",
    },
]


def image_rows():
    rows = []
    for number in (1, 2, 3):
        for modality, view in (("us", "transverse"), ("ct", "axial")):
            rows.append(
                {
                    "nodule_id": f"N{number}",
                    "modality": modality,
                    "view": view,
                    "image": f"{modality}/{number}.png",
                    "mask": f"{modality}/{number}_mask.png",
                    "spacing_mm": "0.1" if modality == "us" else "",
                    "slice": "" if modality == "us" else "3",
                    "measurement_lines": "1" if number == 2 and modality == "us" else "",
                }
            )
    return rows


def as_csv(rows, delimiter=","):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


class Folder:
    """A sound cohort folder whose rows a test changes before it is read."""

    def __init__(self, root):
        self.root = root / "data"
        self.nodules = [dict(row) for row in NODULES]
        self.images = image_rows()
        for row in self.images:
            for column in ("image", "mask"):
                path = self.root / row[column]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

    def read(self):
        for name, rows in (("nodules.csv", self.nodules), ("images.csv", self.images)):
            if not (self.root / name).exists():
                (self.root / name).write_text(as_csv(rows), encoding="utf-8")
        return read_cohort(self.root)

    def faults(self):
        with pytest.raises(InputError) as caught:
            self.read()
        return str(caught.value).split("\n")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_sound_cohort_is_read_as_it_stands(folder):
    cohort = folder.read()
    assert cohort.root == folder.root
    first, second, third = cohort.nodules
    assert (first.nodule_id, first.patient_id, first.cohort) == ("N1", "P1", "main")
    assert first.labels == {"central": 1, "lateral": 0}
    assert second.labels == {"central": 0, "lateral": None}
    assert third.labels == {"central": None, "lateral": 1}
    assert [n.n_malignant_nodules for n in cohort.nodules] == [1, None, 2]
    assert [n.attributes for n in cohort.nodules] == [{"margin": "smooth"}, {}, {"margin": "non-smooth"}]
    us, ct = first.images
    assert (us.modality, us.view, us.spacing_mm, us.slice) == ("us", "transverse", 0.1, None)
    assert (ct.modality, ct.view, ct.spacing_mm, ct.slice) == ("ct", "axial", None, 3)
    assert us.image == folder.root / "us" / "1.png"
    assert us.mask == folder.root / "us" / "1_mask.png"
    assert (us.window_level, us.window_width, us.measurement_lines) == (None, None, False)
    assert second.images[0].measurement_lines is True
    assert [image.modality for image in first.of("ct")] == ["ct"]


def test_bom_and_semicolons_and_spaces_change_nothing(folder):
    expected = folder.read()
    for name, rows in (("nodules.csv", folder.nodules), ("images.csv", folder.images)):
        text = as_csv(rows, ";").replace(";", " ; ").replace("\n", "\r\n")
        (folder.root / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert folder.read() == expected


def test_columns_of_any_order_and_empty_lines_change_nothing(folder):
    expected = folder.read()
    turned = [dict(reversed(row.items())) for row in folder.nodules]
    (folder.root / "nodules.csv").write_text(as_csv(turned).replace("\n", "\n,,,,,,\n\n"))
    assert folder.read() == expected


def test_a_quoted_cell_may_hold_the_delimiter(folder):
    folder.nodules[0]["margin"] = 'lobulated, "blurred"'
    assert folder.read().nodules[0].attributes == {"margin": 'lobulated, "blurred"'}


def test_ids_stay_text(folder):
    folder.nodules[0]["patient_id"] = folder.nodules[1]["patient_id"] = "007"
    assert folder.read().nodules[0].patient_id == "007"


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("lnm_central", "2", "found '2', expected 0, 1 or empty"),
        ("lnm_lateral", "yes", "found 'yes', expected 0, 1 or empty"),
        ("lnm_central", "0.5", "found '0.5', expected 0, 1 or empty"),
        ("lnm_central", "0_1", "found '0_1', expected 0, 1 or empty"),
        ("n_malignant_nodules", "1_0", "found '1_0', expected a whole number from 0 to 1000, or empty"),
        ("cohort", "Main", "found 'Main', expected main or external"),
        ("cohort", "", "found an empty cell, expected main or external"),
        ("patient_id", "", "found an empty cell, expected a text of 1-200 letters"),
        ("n_malignant_nodules", "-1", "found '-1', expected a whole number from 0 to 1000, or empty"),
        ("n_malignant_nodules", "1.5", "found '1.5', expected a whole number from 0 to 1000, or empty"),
    ],
)
def test_a_bad_cell_of_nodules_csv(folder, column, text, expected):
    folder.nodules[1][column] = text
    assert folder.faults() == [f"nodules.csv row 3, column {column}: {expected}"]


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("modality", "US", "found 'US', expected us or ct"),
        ("view", "coronal", "found 'coronal', expected transverse, longitudinal or axial"),
        ("image", "", "found an empty cell, expected the path of a file in the cohort folder"),
        (
            "spacing_mm",
            "0",
            "found '0', expected millimetres per pixel, 0.01 to 20 with a decimal point, or empty",
        ),
        (
            "spacing_mm",
            "0,1",
            "found '0,1', expected millimetres per pixel, 0.01 to 20 with a decimal point, or empty",
        ),
        (
            "spacing_mm",
            "nan",
            "found 'nan', expected millimetres per pixel, 0.01 to 20 with a decimal point, or empty",
        ),
        ("slice", "-1", "found '-1', expected a slice index from 0 to 100000, or empty"),
        ("slice", "1_0", "found '1_0', expected a slice index from 0 to 100000, or empty"),
        ("measurement_lines", "2", "found '2', expected 0, 1 or empty"),
        ("measurement_lines", "0_1", "found '0_1', expected 0, 1 or empty"),
    ],
)
def test_a_bad_cell_of_images_csv(folder, column, text, expected):
    folder.images[3][column] = text
    assert folder.faults() == [f"images.csv row 5, column {column}: {expected}"]


@pytest.mark.parametrize(
    ("column", "text"),
    [("window_level", "5000"), ("window_level", "4_0"), ("window_width", "0"), ("window_width", "40_0")],
)
def test_a_bad_window(folder, column, text):
    for row in folder.images:
        row[column] = ""
    folder.images[1][column] = text
    (fault,) = folder.faults()
    assert fault.startswith(f"images.csv row 3, column {column}: found '{text}', expected HU ")


def test_rows_count_as_in_a_spreadsheet_in_spite_of_empty_lines(folder):
    folder.nodules[2]["cohort"] = "test"
    (folder.root / "nodules.csv").write_text(
        as_csv(folder.nodules).replace("N2,", "N2,").replace("\nE1", "\n\nE1")
    )
    assert folder.faults() == ["nodules.csv row 5, column cohort: found 'test', expected main or external"]


def test_rows_count_as_in_a_spreadsheet_in_spite_of_line_breaks_in_cells(folder):
    folder.nodules[0]["margin"] = "smooth\nas far\nas one sees"
    folder.nodules[2]["cohort"] = "test"
    assert folder.faults() == ["nodules.csv row 4, column cohort: found 'test', expected main or external"]


def test_a_nodule_named_twice(folder):
    folder.nodules[2] |= {"nodule_id": "N1"}
    said = "nodules.csv row 4, column nodule_id: 'N1' stands already in row 2; give every nodule an id"
    assert folder.faults()[0] == f"{said} of its own"


def test_a_patient_in_two_cohorts(folder):
    folder.nodules[1]["cohort"] = "external"
    assert folder.faults() == [
        "nodules.csv row 3, column cohort: patient 'P1' is external here and main in row 2; "
        "a patient belongs to one cohort, or the external test leaks"
    ]


def test_an_image_of_an_unknown_nodule(folder):
    folder.images[4]["nodule_id"] = "N9"
    assert folder.faults() == [
        "images.csv row 6, column nodule_id: 'N9' is not in nodules.csv; add its row or drop this"
    ]


def test_a_picture_of_two_patients(folder):
    folder.images[5]["image"] = "./ct/1.png"
    assert folder.faults() == [
        "images.csv row 7, column image: './ct/1.png' is of patient 'E1' here and of 'P1' in row 3; "
        "a file shows one patient, or the folds leak"
    ]


def test_two_nodules_of_a_patient_may_be_in_one_picture(folder):
    folder.images[2]["image"] = "us/1.png"
    first, second, _ = folder.read().nodules
    assert first.images[0].image == second.images[0].image


@pytest.mark.parametrize(
    ("row", "view", "said"),
    [
        (0, "axial", "row 2, column view: found 'axial' for us, expected transverse or longitudinal"),
        (1, "longitudinal", "row 3, column view: found 'longitudinal' for ct, expected axial"),
    ],
)
def test_a_view_of_the_other_modality(folder, row, view, said):
    folder.images[row]["view"] = view
    assert folder.faults() == [f"images.csv {said}"]


@pytest.mark.parametrize("column", ["image", "mask"])
def test_paths_that_cannot_be_used(folder, column, tmp_path):
    (tmp_path / "secret.png").touch()
    (folder.root / "us" / "link.png").symlink_to(tmp_path / "secret.png")
    (folder.root / "elsewhere").symlink_to(tmp_path)
    (folder.root / "us" / "inside.png").symlink_to(folder.root / "us" / "1.png")
    paths = [
        "../secret.png",
        "us/../../secret.png",
        str(tmp_path / "secret.png"),
        "us\\1.png",
        "us/absent.png",
        "us/link.png",
    ]
    for row, path in zip(folder.images, paths, strict=True):
        row[column] = path
    outside = "expected a path inside the cohort folder"
    link = "is a link that leads out of the cohort folder; copy the file in"
    assert folder.faults() == [
        f"images.csv row 2, column {column}: found '../secret.png', {outside}",
        f"images.csv row 3, column {column}: found 'us/../../secret.png', {outside}",
        f"images.csv row 4, column {column}: found '{tmp_path}/secret.png', {outside}",
        f"images.csv row 5, column {column}: found 'us\\\\1.png', expected forward slashes",
        f"images.csv row 6, column {column}: 'us/absent.png' does not exist in {folder.root}",
        f"images.csv row 7, column {column}: 'us/link.png' {link}",
    ]


def test_links_are_judged_by_where_they_lead(folder, tmp_path):
    (tmp_path / "secret.png").touch()
    (folder.root / "elsewhere").symlink_to(tmp_path)
    (folder.root / "us" / "inside.png").symlink_to(folder.root / "us" / "1.png")
    folder.images[0]["image"] = "us/inside.png"
    folder.images[2]["image"] = "elsewhere/secret.png"
    (fault,) = folder.faults()
    assert fault.startswith("images.csv row 4, column image: 'elsewhere/secret.png' is a link")


def test_missing_columns_are_named(folder):
    for row in folder.nodules:
        del row["lnm_lateral"], row["cohort"]
    assert folder.faults() == [
        "nodules.csv lacks column(s) cohort, lnm_lateral; found patient_id, nodule_id, lnm_central, "
        "n_malignant_nodules, margin"
    ]


def test_a_column_named_twice(folder):
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules).replace("margin", "cohort", 1))
    (fault,) = folder.faults()
    assert fault.startswith("nodules.csv has column(s) cohort twice; found patient_id, nodule_id, cohort, ")


def test_tabs_and_semicolons_are_told_from_commas_by_the_columns_they_make(folder):
    expected = folder.read()
    for delimiter in ";\t":
        (folder.root / "images.csv").write_text(as_csv(folder.images, delimiter))
        assert folder.read() == expected
    folder.nodules = [row | {"a;b;c;d;e;f;g;h;i": ""} for row in folder.nodules]
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules))
    assert folder.read() == expected


def test_a_semicolon_header_in_quotes(folder):
    expected = folder.read()
    text = as_csv(folder.nodules, ";").split("\n", 1)
    quoted = ";".join(f'"{name}"' for name in text[0].split(";"))
    (folder.root / "nodules.csv").write_text(f"{quoted}\n{text[1]}")
    assert folder.read() == expected


def test_empty_columns_at_the_end_are_left_out(folder):
    expected = folder.read()
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules).replace("\n", ",,\n"))
    assert folder.read() == expected
    assert unknown_columns(folder.root) == {}


def test_a_column_without_a_name(folder):
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules).replace("margin", ",margin", 1))
    assert folder.faults() == ["nodules.csv row 1: column 7 has no name; name it or delete it"]


def test_columns_nobody_expects_are_told_with_what_becomes_of_them(folder):
    folder.nodules = [row | {"surgeon": "A", "Age ": "50", "margins": ""} for row in folder.nodules]
    folder.images = [row | {"window level": "", "spacing": ""} for row in folder.images]
    cohort = folder.read()
    assert cohort.nodules[0].attributes == {"margin": "smooth", "surgeon": "A", "Age": "50"}
    assert unknown_columns(folder.root) == {
        "nodules.csv": [
            "surgeon (kept as an attribute)",
            "Age (kept as an attribute; did you mean age?)",
            "margins (kept as an attribute)",  # there is a margin already
        ],
        "images.csv": [
            "window level (ignored; did you mean window_level?)",
            "spacing (ignored)",  # spacing_mm is there
        ],
    }


def test_more_cells_than_columns(folder):
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules).replace("smooth\n", "smooth,9\n", 1))
    assert folder.faults() == ["nodules.csv row 2: more cells than the header's 7 columns"]


def test_a_quote_that_is_not_closed(folder):
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules) + '"P4,N4,main')
    (fault,) = folder.faults()
    assert fault.startswith("nodules.csv row 5: not readable as CSV (")


def test_a_table_that_is_not_utf_8(folder):
    text = as_csv(folder.nodules)
    (folder.root / "nodules.csv").write_bytes(text.encode().replace(b"smooth", b"gl\xe4tt", 1))
    at = text.index("smooth") + 2
    assert folder.faults() == [f"nodules.csv row 2: not UTF-8 at byte {at}; save the table as CSV UTF-8"]


def test_rows_of_a_table_that_is_not_utf_8_count_with_every_line_end(folder):
    for end in ("\n", "\r\n", "\r"):
        text = as_csv(folder.nodules).replace("\n", end).encode()
        (folder.root / "nodules.csv").write_bytes(text.replace(b"non-smooth", b"\xfc"))
        (fault,) = folder.faults()
        assert fault.startswith("nodules.csv row 4: not UTF-8 at byte ")


def test_names_of_columns_are_told_short_and_on_one_line(folder):
    folder.nodules = [row | {"seen\nby": "", "y" * 70: ""} for row in folder.nodules]
    folder.read()
    assert unknown_columns(folder.root) == {
        "nodules.csv": [
            "seen by (kept as an attribute)",
            f"{'y' * 60}... (kept as an attribute)",
        ]
    }


def test_a_cell_is_repeated_up_to_sixty_letters(folder):
    folder.nodules[0]["cohort"], folder.nodules[1]["cohort"] = "x" * 60, "x" * 61
    assert folder.faults() == [
        f"nodules.csv row 2, column cohort: found '{'x' * 60}', expected main or external",
        f"nodules.csv row 3, column cohort: found '{'x' * 60}...', expected main or external",
    ]


def test_a_folder_that_is_a_link_to_itself_is_one_message(tmp_path):
    (tmp_path / "data").symlink_to("data")
    with pytest.raises(InputError, match=r"data/nodules\.csv: no such file; a cohort folder needs"):
        read_cohort(tmp_path / "data")


@pytest.mark.parametrize("name", ["nodules.csv", "images.csv"])
def test_a_missing_table_says_what_a_cohort_needs(folder, name):
    folder.read()
    (folder.root / name).unlink()
    with pytest.raises(InputError) as caught:
        read_cohort(folder.root)
    assert str(caught.value) == (
        f"{folder.root / name}: no such file; "
        "a cohort folder needs nodules.csv and images.csv (docs/how-to/own-data.md)"
    )


def test_tables_without_rows_or_header(folder):
    (folder.root / "nodules.csv").write_text(as_csv(folder.nodules).split("\n")[0] + "\n")
    assert folder.faults() == ["nodules.csv: no rows below the header"]
    (folder.root / "nodules.csv").write_text("")
    assert folder.faults()[0].startswith("nodules.csv lacks column(s) patient_id, ")


def test_twenty_faults_are_shown(folder):
    folder.nodules = [{**NODULES[0], "nodule_id": f"N{i}", "lnm_central": "x"} for i in range(27)]
    faults = folder.faults()
    assert len(faults) == 21
    assert faults[0] == "nodules.csv row 2, column lnm_central: found 'x', expected 0, 1 or empty"
    assert faults[-1] == "... and 7 more"


def survives(nodules, images):
    """The reader of a folder with these tables ends with a cohort or with one message."""
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root))
        (folder.root / "nodules.csv").write_bytes(nodules)
        (folder.root / "images.csv").write_bytes(images)
        try:
            unknown_columns(folder.root)
            cohort = read_cohort(folder.root)
        except InputError:
            return
        for nodule in cohort.nodules:
            assert set(nodule.labels.values()) <= {0, 1, None}
            for image in nodule.images:
                assert image.image.resolve().is_relative_to(folder.root.resolve())
                assert image.spacing_mm is None or 0 < image.spacing_mm <= 20


SOUND = as_csv(NODULES).encode(), as_csv(image_rows()).encode()
STRANGE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "nan",
            "1e999",
            "-0",
            "1_0",
            "\0",
            '"',
            "\r",
            "\n",
            ",",
            ";",
            "../x",
            "\\",
            "us",
            "9" * 5000,
            "\ufeff",
        ]
    ),
    st.floats().map(str),
    st.integers().map(str),
)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_tables_of_arbitrary_bytes_never_end_in_a_traceback(nodules, images):
    survives(nodules, images)


@given(st.data())
def test_sound_tables_with_a_strange_cell_never_end_in_a_traceback(data):
    tables = [[dict(row) for row in NODULES], image_rows()]
    for rows in tables:
        if data.draw(st.booleans()):
            row = data.draw(st.integers(0, len(rows) - 1))
            rows[row] = rows[row] | {data.draw(st.sampled_from(sorted(rows[row]))): data.draw(STRANGE)}
    survives(*(as_csv(rows).encode("utf-8", "surrogatepass") for rows in tables))


@given(
    st.lists(
        st.sampled_from([*NODULES[0], "margin", " ", "__class__", "model_config", "a;b", '"']), max_size=9
    )
)
def test_headers_of_any_columns_never_end_in_a_traceback(columns):
    lines = [",".join(columns), ",".join("1" for _ in columns)]
    survives("\n".join(lines).encode(), SOUND[1])


@given(st.data())
def test_sound_tables_with_strange_bytes_in_between_never_end_in_a_traceback(data):
    tables = list(SOUND)
    which = data.draw(st.sampled_from([0, 1]))
    at = data.draw(st.integers(0, len(tables[which])))
    strange = data.draw(STRANGE).encode("utf-8", "surrogatepass")
    tables[which] = tables[which][:at] + strange + tables[which][at + data.draw(st.integers(0, 5)) :]
    survives(*tables)


def test_only_nodules_that_are_scored_may_come_with_boxes(tmp_path):
    boxed = "nodule_id,modality,view,image,mask,box,calipers,spacing_mm\n"
    write_pictures(tmp_path)
    (tmp_path / "nodules.csv").write_text("patient_id,nodule_id,cohort,lnm_central,lnm_lateral\np,n,main,,\n")
    table = tmp_path / "images.csv"
    table.write_text(
        boxed + "n,us,transverse,us.png,,1 2 30 40,,\nn,us,transverse,us2.png,,,1 20 30 20,\n"
        "n,ct,axial,ct.png,ct_mask.png,,,\n"
    )
    first, second, third = read_cohort(tmp_path, boxes=True).nodules[0].images
    assert first.box == Box(1, 2, 30, 40)
    assert second.box == Box(1, 5.5, 30, 34.5)
    assert third.box is None
    assert third.mask.name == "ct_mask.png"
    with pytest.raises(InputError, match=r"images\.csv row 2, column mask: found an empty cell"):
        read_cohort(tmp_path)
    table.write_text(boxed + "n,us,transverse,us.png,,1 2 30,,\nn,us,transverse,us2.png,,,1 20 30,\n")
    with pytest.raises(InputError) as told:
        read_cohort(tmp_path, boxes=True)
    assert str(told.value).splitlines() == [
        "images.csv row 2, column box: found '1 2 30', expected 4 numbers: left, top, right, bottom, in "
        "pixels of the picture",
        "images.csv row 3, column calipers: found '1 20 30', expected 4 numbers, the ends x1 y1 x2 y2 of a "
        "line in pixels of the picture, or 8 of two lines",
    ]
    table.write_text(boxed + "n,us,transverse,us.png,ct_mask.png,1 2 30 40,,\nn,us,transverse,us2.png,,,,\n")
    with pytest.raises(InputError) as told:
        read_cohort(tmp_path, boxes=True)
    assert str(told.value).splitlines() == [
        "images.csv row 2: found mask and box; expected one of mask, box, calipers",
        "images.csv row 3: found nothing that marks the nodule; expected one of mask, box, calipers",
    ]


def write_pictures(folder):
    for name in ("us.png", "us2.png", "ct.png", "ct_mask.png"):
        (folder / name).write_bytes(b"")
