"""metrics.csv."""

from support.training import rows


def test_metrics_csv_has_a_row_a_step(fit_run):
    directory, _, _ = fit_run("run")
    table = rows(directory)
    assert [row["step"] for row in table] == [1, 2, 4]  # 1: the values of real images
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "train/images_per_second"} <= table[1].keys()
    assert {"metrics/fd_classifier_8", "metrics/accuracy_classifier_8"} <= table[2].keys()
