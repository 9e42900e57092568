rule render_report:
    input:
        volume="<results>/{sample}/volume.ome.zarr",
        prediction="<results>/{sample}/prediction.ome.zarr",
        classes="<results>/{sample}/classes.ome.zarr",
        objects="<results>/{sample}/objects.ome.zarr",
        table="<results>/{sample}/objects.tsv",
        quality="<results>/{sample}/quality.json",
        metrics="<results>/{sample}/quality.tsv",
        truth=setting("files.truth"),
        metadata=setting("files.metadata"),
    output:
        html="<results>/{sample}/report.html",
        overlays=report(
            "<results>/{sample}/figures/overlays.png",
            caption="../report/overlays.rst",
            category="Segmentation",
            labels={"sample": "{sample}", "content": "overlays"},
        ),
        probabilities=report(
            "<results>/{sample}/figures/probabilities.png",
            caption="../report/probabilities.rst",
            category="Segmentation",
            labels={"sample": "{sample}", "content": "probabilities"},
        ),
        sizes=report(
            "<results>/{sample}/figures/sizes.png",
            caption="../report/sizes.rst",
            category="Segmentation",
            labels={"sample": "{sample}", "content": "object sizes"},
        ),
    log:
        "<logs>/{sample}/render_report.log",
    benchmark:
        "<benchmarks>/{sample}/render_report.tsv"
    wildcard_constraints:
        sample=samples_of("segmentation"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("render_report"),
        runtime=minutes("render_report"),
    params:
        truth=setting("truth"),
        metadata=setting("metadata"),
        settings=setting("task.report"),
        code=fingerprint("render_report"),
    message:
        "{wildcards.sample}: rendering the report"
    script:
        "../../scripts/render_report.py"
