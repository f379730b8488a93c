import json

from run_files import NAME, metrics_content

from cdsp.io.json_files import write_json
from cdsp.reporting.summary import describe_tables
from cdsp.reporting.tables import write_table


def test_the_best_row_the_pictures_and_the_command_are_told(tmp_path):
    paths = []
    for method, mean in (("cdsp", 0.4), ("both", 0.61), ("strokes", 0.5)):
        path = tmp_path / method / "metrics.json"
        name = {**NAME, "method": method, "seed": 0}
        write_json(path, metrics_content(name=name, mean_iou=mean, weights=f"{method}/weights.pt"))
        paths.append(path)
    table = tmp_path / "table1.csv"
    write_table(paths, table)
    (tmp_path / "table1_panel.png").write_bytes(b"")
    lines = describe_tables([table])
    text = "\n".join(lines)
    assert f"{table} " in text
    assert "table1_panel.png" in text
    assert "best of 3 rows: both, deeplabv3plus-resnet18, full, cam: mIoU (%) 61.00" in text
    assert lines[-1].strip() == (
        "cdsp predict photo.jpg --run both/weights.pt --output predictions"
    )


def test_a_table_without_a_score_has_no_best_row(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, metrics_content(mean_iou=None))
    write_table([path], tmp_path / "table1.csv")
    assert not any("best" in line for line in describe_tables([tmp_path / "table1.csv"]))
    assert json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert describe_tables([]) == []


def test_a_network_that_was_chosen_by_its_score_is_not_the_best_row(tmp_path):
    paths = []
    for folder, mean, told in (("last", 0.4, {}), ("best", 0.6, {"checkpoint": "best_on_val"})):
        path = tmp_path / folder / "metrics.json"
        name = {**NAME, "seed": 0, **told}
        write_json(path, metrics_content(name=name, mean_iou=mean, weights=f"{folder}.pt"))
        paths.append(path)
    write_table(paths, tmp_path / "table1.csv")
    assert "mIoU (%) 40.00" in "\n".join(describe_tables([tmp_path / "table1.csv"]))
