rule measure_quality:
    input:
        prediction="<results>/{sample}/prediction.ome.zarr",
        classes="<results>/{sample}/classes.ome.zarr",
        objects="<results>/{sample}/objects.ome.zarr",
        truth=setting("files.truth"),
        truth_objects=setting("files.objects"),
        metadata=setting("files.metadata"),
    output:
        json="<results>/{sample}/quality.json",
        table=report(
            "<results>/{sample}/quality.tsv",
            caption="../report/quality.rst",
            category="Quality",
            labels={"sample": "{sample}", "content": "metrics"},
        ),
    log:
        "<logs>/{sample}/measure_quality.log",
    benchmark:
        "<benchmarks>/{sample}/measure_quality.tsv"
    wildcard_constraints:
        sample=samples_of("segmentation"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("measure_quality"),
        runtime=minutes("measure_quality"),
    params:
        truth=setting("truth"),
        metadata=setting("metadata"),
        limits=setting("task.quality.limits"),
        code=fingerprint("measure_quality"),
    message:
        "{wildcards.sample}: measuring quality"
    script:
        "../../scripts/measure_quality.py"
