rule summarize_cohort:
    input:
        reports=predicted("report.html"),
        predictions=predicted_volumes("prediction.ome.zarr"),
        tables=predicted_of("segmentation", "objects.tsv"),
        detections=predicted_of("detection", "detections.json"),
        tile_tables=predicted_tiles("tile_quality.tsv")
        + predicted_of("refinement", "tile_quality.tsv"),
        quality=predicted("quality.json"),
        metrics=predicted("quality.tsv"),
    output:
        quality=report(
            "<results>/cohort/quality.tsv",
            caption="../report/cohort.rst",
            category="Cohort",
            labels={"content": "metrics of all samples"},
        ),
        objects="<results>/cohort/objects.tsv",
        detections=(
            "<results>/cohort/detections.csv"
            if PROJECT.predicted_of("detection")
            else []
        ),
        froc=(
            directory("<results>/cohort/froc")
            if PROJECT.predicted_of("detection")
            else []
        ),
        tiles=(
            "<results>/cohort/tiles.tsv"
            if PROJECT.predicted_tiles or PROJECT.predicted_of("refinement")
            else []
        ),
        figure=report(
            "<results>/cohort/quality.png",
            caption="../report/cohort.rst",
            category="Cohort",
            labels={"content": "headline metrics"},
        ),
        html="<results>/report.html",
    log:
        "<logs>/summarize_cohort.log",
    benchmark:
        "<benchmarks>/summarize_cohort.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("summarize_cohort"),
        runtime=minutes("summarize_cohort"),
    params:
        tasks=PROJECT.tasks_of_predicted,
        kinds=PROJECT.kinds_of_predicted,
        code=fingerprint("summarize_cohort"),
    message:
        "Summarizing all samples"
    script:
        "../../scripts/summarize_cohort.py"
