rule measure_detections:
    input:
        detections="<results>/{sample}/detections.json",
        prediction="<results>/{sample}/prediction.ome.zarr",
        source=setting("files.source"),
        truth=setting("files.truth"),
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
        "<logs>/{sample}/measure_detections.log",
    benchmark:
        "<benchmarks>/{sample}/measure_detections.tsv"
    wildcard_constraints:
        sample=samples_of("detection"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("measure_detections"),
        runtime=minutes("measure_detections"),
    params:
        source=setting("source"),
        truth=setting("truth"),
        metadata=setting("metadata"),
        limits=setting("task.quality.limits"),
        code=fingerprint("measure_detections"),
    message:
        "{wildcards.sample}: measuring detections"
    script:
        "../../scripts/measure_detections.py"
